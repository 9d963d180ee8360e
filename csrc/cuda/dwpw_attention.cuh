// One kernel from x to A * Y (+ residual): one read and one write of each map. Shared memory holds x around the tile
// and the weights, a group of channels at a time; the depthwise convolution, Y and the gate stay in registers.
#pragma once

#include "cuda/dwpw_attention_tile.cuh"

namespace awsrn_fast {

template <class T, int D>
struct DwpwAttentionFwdTile : DwpwAttentionTile<T, D, 8> {
  using Base = DwpwAttentionTile<T, D, 8>;
  static constexpr int kSharedBytes = (Base::kWeights + Base::kDepthwise + Base::kHalo) * int(sizeof(T));
  static constexpr int kBlocks = D * int(sizeof(T)) <= 128 ? 2 : 1;  // on an SM of compute capability 7.5: registers
};

template <class T, int Arch, int D>
__global__ void __launch_bounds__(DwpwAttentionFwdTile<T, D>::kThreads, DwpwAttentionFwdTile<T, D>::kBlocks)
    dwpw_attention_fwd_kernel(DwpwAttentionFwd p) {
  if constexpr (instance_runs_here<T, Arch>()) {
    using Tile = DwpwAttentionFwdTile<T, D>;
    constexpr int V = Tile::kVector;
    const DwpwAttentionPlace<Tile> place(p.maps, blockIdx.x);
    T* weights = dynamic_shared<T>();
    T* depthwise_weights = weights + Tile::kWeights;
    T* halo = depthwise_weights + Tile::kDepthwise;

    float depthwise_out[Tile::kProducts][4], y[D / 8][4];
    pointwise<Tile, Arch, D>(p.maps, p.weights, place, static_cast<const T*>(p.x), weights, depthwise_weights, halo,
                             depthwise_out, y);
    const int groups = int(ceil_div(p.maps.d, Tile::kGroup));
#pragma unroll 1
    for (int group = 0; group < groups; ++group) {
      const int channel = place.channel(group);
      __syncthreads();
      load_weights<Tile, Tile::kGroup, D>(static_cast<const T*>(p.weights.w_a), int(p.maps.d), int(p.maps.d),
                                          group * Tile::kGroup, 0, weights, Tile::kOutStride);
      __syncthreads();
      float s[Tile::kProducts][4], own[Tile::kProducts][4];
      attention<Tile, Arch, D>(p.maps, p.weights, place, group, weights, y, s);
      take_group(y, group, own);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (channel >= p.maps.d || !place.inside(p.maps, r)) continue;
        const Index at = place.position(p.maps, r) * p.maps.d + channel;
        float values[V], attends[V], residual[V] = {};
        if (p.residual) load(static_cast<const T*>(p.residual) + at, residual);
        take_position(own, r, values);
        take_position(s, r, attends);
#pragma unroll
        for (int k = 0; k < V; ++k) values[k] = values[k] * sigmoid<T>(attends[k]) + residual[k];
        store(static_cast<T*>(p.y) + at, values);
      }
    }
  }
}

}  // namespace awsrn_fast
