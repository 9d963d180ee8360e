#include "cuda/gated_residual.cuh"

#include <algorithm>
#include <initializer_list>

#include "cuda/launch.h"

namespace awsrn_fast {
namespace {

constexpr const char* kName = "gated_residual";
constexpr int kSumThreads = GatedResidualTile::kSumThreads;

bool aligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers)
    if (reinterpret_cast<std::uintptr_t>(pointer) % 16) return false;
  return true;
}

// Calls `run` with the kernels' vector length and layout as types.
template <class T, class Run>
void with_layout(const GatedResidualMaps& maps, bool aligned, Run run) {
  constexpr int kVector = kWidest<T>;
  const bool whole = aligned && (maps.channels_last ? maps.c : maps.hw) % kVector == 0;
  const auto with = [&](auto vector) {
    if (maps.channels_last)
      run(vector, std::true_type{});
    else
      run(vector, std::false_type{});
  };
  if (whole)
    with(std::integral_constant<int, kVector>{});
  else
    with(std::integral_constant<int, 1>{});
}

// Floats for the sums of both directions: of each chunk and channel, and of each block for the two scales.
constexpr Index workspace_of(const GatedResidualMaps& maps, const GatedResidualTile& tile) {
  return maps.n * tile.chunks * (maps.c + 2 * tile.tiles);
}

template <class Pointers>
GatedResidualParams<Pointers> params(const Pointers& a, int vector) {
  const GatedResidualMaps& maps = a.maps;
  const GatedResidualTile tile = gated_residual_tile(maps, vector);
  check_workspace(workspace_of(maps, tile), gated_residual_workspace(maps), kName);
  return {a, tile, a.workspace, a.workspace + maps.n * maps.c * tile.chunks, maps.n * tile.chunks * tile.tiles};
}

template <class T>
void fwd(const GatedResidualFwd& a, const Target& target) {
  with_layout<T>(a.maps, aligned({a.x, a.f, a.gate.at, a.y}), [&](auto vector, auto channels_last) {
    constexpr int kVector = vector;
    const auto p = params(a, kVector);
    launch(gated_residual_fwd_kernel<T, kVector, channels_last>, grid_of(p.blocks, kName), GatedResidualTile::kThreads,
           kSumFloats<kVector> * sizeof(float), target, kName, p);
    if (p.tile.chunks == 1) return;
    launch(gated_residual_fwd_sum_kernel<T>, grid_of(a.maps.n * ceil_div(a.maps.c, 32), kName), kSumThreads,
           kSumThreads * sizeof(float), target, kName, p);
  });
}

template <class T>
void bwd(const GatedResidualBwd& a, const Target& target) {
  const bool whole = aligned({a.grad_y, a.grad_mean, a.x, a.f, a.gate.at, a.grad_x, a.grad_f});
  with_layout<T>(a.maps, whole, [&](auto vector, auto channels_last) {
    constexpr int kVector = vector;
    const auto p = params(a, kVector);
    launch(gated_residual_bwd_kernel<T, kVector, channels_last>, grid_of(p.blocks, kName), GatedResidualTile::kThreads,
           kSumFloats<kVector> * sizeof(float), target, kName, p);
    const Index gates = a.grad_gate ? a.maps.n * ceil_div(a.maps.c, 32) : 0;
    if (!gates && !a.grad_res_scale && !a.grad_x_scale) return;
    launch(gated_residual_bwd_sum_kernel<T>, grid_of(gates + 1, kName), kSumThreads, kSumThreads * sizeof(float),
           target, kName, p);
  });
}

}  // namespace

Index gated_residual_workspace(const GatedResidualMaps& maps) {
  // Which vectors can be used shows only in the addresses, and none needs the most for all sizes: 256 threads hold a
  // whole number of positions of some widths and leave threads idle at others.
  Index floats = 0;
  for (int vector : {1, kWidest<float>, kWidest<__half>})
    floats = std::max(floats, workspace_of(maps, gated_residual_tile(maps, vector)));
  return floats;
}

void launch_gated_residual_fwd(const GatedResidualFwd& a, DType dtype, const Target& target) {
  with_dtype(dtype, [&](auto zero) { fwd<decltype(zero)>(a, target); });
}

void launch_gated_residual_bwd(const GatedResidualBwd& a, DType dtype, const Target& target) {
  with_dtype(dtype, [&](auto zero) { bwd<decltype(zero)>(a, target); });
}

}  // namespace awsrn_fast
