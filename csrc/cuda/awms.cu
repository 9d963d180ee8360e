#include "cuda/awms.cuh"

#include <type_traits>

#include "cuda/awms_bwd_weight.cuh"
#include "cuda/launch.h"

namespace awsrn_fast {
namespace {

constexpr const char* kName = "awms";

// Calls `run` with the type of the maps and the architecture whose instance runs.
template <class Run>
void with_instance(DType dtype, const Target& target, Run run) {
  using Turing = std::integral_constant<int, 75>;
  using Ampere = std::integral_constant<int, 80>;
  if (dtype == DType::float32) run(float{}, Turing{});
  else if (dtype == DType::bfloat16) run(__nv_bfloat16{}, Ampere{});
  else if (target.arch < 80) run(__half{}, Turing{});
  else run(__half{}, Ampere{});
}

template <class T, int Arch, int Tiles>
void fwd(const AwmsFwd& a, const Target& target) {
  constexpr int kWidth = Tiles * 8, kChunk = AwmsTile::kChunkBytes / int(sizeof(T));
  const AwmsMaps& maps = a.maps;
  AwmsFwdParams p{};
  p.a = a;
  p.down = ceil_div(maps.h, AwmsTile::kSide);
  p.across = ceil_div(maps.w, AwmsTile::kSide);
  p.blocks = ceil_div(maps.outputs, kWidth);
  p.chunks = int(ceil_div(maps.inputs, kChunk));
  p.planes = awms_planes(maps.outputs, kWidth, a.scale);
  p.margin_side = AwmsDivisor(awms_margin_side(maps.k));
  p.scale = AwmsDivisor(a.scale);
  p.inner = AwmsDivisor(a.channels_last ? p.planes : AwmsTile::kSide * a.scale);
  const std::int64_t planes = maps.outputs / (std::int64_t(a.scale) * a.scale);
  const std::int64_t wide = maps.w * a.scale, high = maps.h * a.scale;
  p.plane = a.channels_last ? 1 : wide * high;
  p.column = a.channels_last ? planes : 1;
  p.row = wide * p.column;
  const std::int64_t blocks = maps.n * p.down * p.across * p.blocks;
  launch(awms_fwd_kernel<T, Arch, Tiles>, grid_of(blocks, kName), AwmsTile::kThreads,
         awms_fwd_shared_bytes<Tiles>(maps.k), target, kName, p);
}

template <class T, int Arch, int Tiles>
void bwd_weight(const AwmsBwdWeight& a, const Target& target) {
  const AwmsMaps& maps = a.maps;
  AwmsBwdWeightParams p{};
  p.a = a;
  p.cut = awms_weight_cut(maps, kAwmsWeightDown<T>);
  p.margin_across = AwmsDivisor(AwmsWeightTile::kAcross + maps.k - 1);
  const std::int64_t blocks = p.cut.shares * p.cut.inputs * p.cut.outputs * maps.k;
  launch(awms_bwd_weight_kernel<T, Arch, Tiles>, grid_of(blocks, kName), 32 * maps.k,
         awms_weight_shared_bytes<T, Tiles>(maps.k), target, kName, p);
  const int shared_bytes = AwmsWeightTile::kInputs * maps.k * maps.k * int(sizeof(float));
  launch(awms_bwd_weight_sum_kernel<T>, grid_of(maps.outputs * p.cut.inputs, kName), AwmsWeightTile::kSumThreads,
         shared_bytes, target, kName, p);
}

}  // namespace

std::int64_t awms_workspace(const AwmsMaps& maps, DType dtype) {
  const int down = dtype == DType::float32 ? kAwmsWeightDown<float> : kAwmsWeightDown<__half>;
  const AwmsWeightCut cut = awms_weight_cut(maps, down);
  return cut.shares * maps.k * maps.k * cut.wide_outputs * cut.wide_inputs;
}

void launch_awms_fwd(const AwmsFwd& a, DType dtype, const Target& target) {
  with_instance(dtype, target, [&](auto zero, auto arch) {
    using T = decltype(zero);
    switch (awms_tiles(a.maps.outputs)) {
      case 2: return fwd<T, arch, 2>(a, target);
      case 4: return fwd<T, arch, 4>(a, target);
      default: return fwd<T, arch, 6>(a, target);
    }
  });
}

void launch_awms_bwd_weight(const AwmsBwdWeight& a, DType dtype, const Target& target) {
  with_instance(dtype, target, [&](auto zero, auto arch) {
    using T = decltype(zero);
    switch (awms_weight_tiles(a.maps.outputs)) {
      case 1: return bwd_weight<T, arch, 1>(a, target);
      case 2: return bwd_weight<T, arch, 2>(a, target);
      default: return bwd_weight<T, arch, 3>(a, target);
    }
  });
}

}  // namespace awsrn_fast
