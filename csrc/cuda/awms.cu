#include "cuda/awms.cuh"

#include <type_traits>

#include "cuda/awms_bwd_grad.cuh"
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
  if (dtype == DType::float32)
    run(float{}, Turing{});
  else if (dtype == DType::bfloat16)
    run(__nv_bfloat16{}, Ampere{});
  else if (target.arch < 80)
    run(__half{}, Turing{});
  else
    run(__half{}, Ampere{});
}

template <class T, int Arch, int Tiles>
void fwd(const AwmsFwd& a, const Target& target) {
  constexpr int kChunk = AwmsTile::kChunkBytes / int(sizeof(T));
  const AwmsMaps& maps = a.maps;
  AwmsFwdParams p{};
  p.a = a;
  p.grid = awms_grid(maps);
  p.shuffle = awms_shuffle(maps, a.scale, a.channels_last);
  p.chunks = int(ceil_div(maps.inputs, kChunk));
  p.margin_side = AwmsDivisor(awms_margin_side(maps.k));
  const Index blocks = maps.n * p.grid.down * p.grid.across * p.grid.outputs;
  launch(awms_fwd_kernel<T, Arch, Tiles>, grid_of(blocks, kName), AwmsTile::kThreads,
         awms_fwd_shared_bytes<Tiles>(maps.k), target, kName, p);
}

Index parts(const AwmsMaps& maps) {
  const AwmsGrid grid = awms_grid(maps);
  return maps.n * grid.down * grid.across;
}

template <class T>
void bwd_grad(const AwmsBwdGrad& a, const Target& target) {
  const int width = 8 * awms_tiles(a.maps.outputs);
  AwmsBwdGradParams p{};
  p.a = a;
  p.grid = awms_grid(a.maps);
  p.shuffle = awms_shuffle(a.maps, a.scale, a.channels_last);
  p.width = AwmsDivisor(width);
  p.parts = parts(a.maps);
  check_workspace(a.workspace ? a.maps.outputs * p.parts : 0, awms_sums_workspace(a.maps), kName);
  launch(awms_bwd_grad_kernel<T>, grid_of(p.parts * p.grid.outputs, kName), AwmsTile::kThreads,
         awms_grad_shared_bytes(width), target, kName, p);
  if (!a.workspace) return;
  const Index planes = a.maps.outputs / (Index(a.scale) * a.scale);
  launch(awms_bwd_grad_sum_kernel<T>, grid_of(planes, kName), AwmsGradTile::kSumThreads,
         AwmsGradTile::kSumThreads / 32 * sizeof(float), target, kName, p);
}

constexpr Index floats_of(const AwmsWeightCut& cut, int k) {
  return cut.shares * k * k * cut.wide_outputs * cut.wide_inputs;
}

template <class T, int Arch, int Tiles>
void bwd_weight(const AwmsBwdWeight& a, DType dtype, const Target& target) {
  const AwmsMaps& maps = a.maps;
  AwmsBwdWeightParams p{};
  p.a = a;
  p.cut = awms_weight_cut(maps, kAwmsWeightDown<T>);
  p.margin_across = AwmsDivisor(AwmsWeightTile::kAcross + maps.k - 1);
  check_workspace(floats_of(p.cut, maps.k), awms_weight_workspace(maps, dtype), kName);
  const Index blocks = p.cut.shares * p.cut.inputs * p.cut.outputs * maps.k;
  launch(awms_bwd_weight_kernel<T, Arch, Tiles>, grid_of(blocks, kName), 32 * maps.k,
         awms_weight_shared_bytes<T, Tiles>(maps.k), target, kName, p);
  const int shared_bytes = AwmsWeightTile::kInputs * maps.k * maps.k * int(sizeof(float));
  launch(awms_bwd_weight_sum_kernel<T>, grid_of(maps.outputs * p.cut.inputs, kName), AwmsWeightTile::kSumThreads,
         shared_bytes, target, kName, p);
}

}  // namespace

Index awms_sums_workspace(const AwmsMaps& maps) { return maps.outputs * parts(maps); }

Index awms_weight_workspace(const AwmsMaps& maps, DType dtype) {
  const int down = dtype == DType::float32 ? kAwmsWeightDown<float> : kAwmsWeightDown<__half>;
  return floats_of(awms_weight_cut(maps, down), maps.k);
}

void launch_awms_fwd(const AwmsFwd& a, DType dtype, const Target& target) {
  with_instance(dtype, target, [&](auto zero, auto arch) {
    using T = decltype(zero);
    switch (awms_tiles(a.maps.outputs)) {
      case 2:
        return fwd<T, arch, 2>(a, target);
      case 4:
        return fwd<T, arch, 4>(a, target);
      default:
        return fwd<T, arch, 6>(a, target);
    }
  });
}

void launch_awms_bwd_grad(const AwmsBwdGrad& a, DType dtype, const Target& target) {
  with_dtype(dtype, [&](auto zero) { bwd_grad<decltype(zero)>(a, target); });
}

void launch_awms_bwd_weight(const AwmsBwdWeight& a, DType dtype, const Target& target) {
  with_instance(dtype, target, [&](auto zero, auto arch) {
    using T = decltype(zero);
    switch (awms_weight_tiles(a.maps.outputs)) {
      case 1:
        return bwd_weight<T, arch, 1>(a, dtype, target);
      case 2:
        return bwd_weight<T, arch, 2>(a, dtype, target);
      default:
        return bwd_weight<T, arch, 3>(a, dtype, target);
    }
  });
}

}  // namespace awsrn_fast
