#include "cuda/dwpw_attention_bwd.cuh"

#include <algorithm>

#include "cuda/dwpw_attention_launch.h"

namespace awsrn_fast {
namespace {

// How backward is cut, which depends on shape, dtype and architecture alone; the workspace is not set.
template <class Tile>
DwpwAttentionBwdParams cut(const DwpwAttentionBwd& a, int width, int arch) {
  const DwpwAttentionMaps& maps = a.maps;
  const int most = dwpw_attention_multiprocessors(arch);
  const Index tiles = dwpw_attention_tiles<Tile>(maps);
  const Index columns = std::max<Index>(1, DwpwAttentionDepthwiseTile::kThreads / std::max<Index>(1, maps.c / 2));
  const Index strips = maps.n * ceil_div(maps.h, DwpwAttentionDepthwiseTile::kRows) * ceil_div(maps.w, columns);
  return {a,       DwpwAttentionSlice(maps.c, width, Tile::kGroup),
          tiles,   std::min<Index>(tiles, most * Tile::kBlocks),
          strips,  std::min<Index>(strips, most * DwpwAttentionDepthwiseTile::blocks(arch)),
          nullptr, nullptr};
}

Index floats_of(const DwpwAttentionBwdParams& p) {
  return p.slices * p.slice.floats() + p.strip_blocks * 10 * p.a.maps.c;
}

}  // namespace

Index dwpw_attention_bwd_workspace(const DwpwAttentionMaps& maps, DType dtype, int arch) {
  Index floats = 0;
  with_instance(maps, dtype, {0, 0, arch}, [&](auto zero, auto, auto width) {
    const auto p = cut<DwpwAttentionBwdTile<decltype(zero), width>>({maps}, width, arch);
    floats = floats_of(p);
  });
  return floats;
}

void launch_dwpw_attention_bwd(const DwpwAttentionBwd& a, DType dtype, const Target& target) {
  with_instance(a.maps, dtype, target, [&](auto zero, auto arch, auto width) {
    using T = decltype(zero);
    using Tile = DwpwAttentionBwdTile<T, width>;
    DwpwAttentionBwdParams p = cut<Tile>(a, width, target.arch);
    check_workspace(floats_of(p), dwpw_attention_bwd_workspace(a.maps, dtype, target.arch), kDwpwAttention);
    p.slice_sums = a.workspace;
    p.strip_sums = a.workspace + p.slices * p.slice.floats();
    launch(dwpw_attention_bwd_kernel<T, arch, width>, grid_of(p.slices, kDwpwAttention), Tile::kThreads,
           Tile::kSharedBytes, target, kDwpwAttention, p);
    launch(dwpw_attention_bwd_depthwise_kernel<T>, grid_of(p.strip_blocks, kDwpwAttention),
           DwpwAttentionDepthwiseTile::kThreads, DwpwAttentionDepthwiseTile::kSharedBytes, target, kDwpwAttention, p);
    if (!a.grad_w_dw) return;
    const Index elements = p.slice.floats() + 10 * a.maps.c;
    launch(dwpw_attention_bwd_sum_kernel<T>,
           grid_of(ceil_div(elements, DwpwAttentionSumTile::kElements), kDwpwAttention), DwpwAttentionSumTile::kThreads,
           DwpwAttentionSumTile::kThreads * sizeof(float), target, kDwpwAttention, p);
  });
}

}  // namespace awsrn_fast
