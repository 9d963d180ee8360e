// What forward shares with backward, which computes Y again: from x to the products' fragments of Y.
//
// A warp holds 16 positions, 2 rows of 8 columns, as the rows of a product's D: a lane has the two positions of its
// column, lane / 4. Channels are handled in groups of 64 bytes. Within a group the products' columns are the channels
// in such an order that what a lane holds of a position, `kVector` values, are neighbours in memory: maps are read and
// written 16 bytes at a time, straight from and to registers, and what one product gives is what the next one takes.
#pragma once

#include "common/tiles.h"
#include "cuda/architecture.h"
#include "cuda/device.cuh"
#include "cuda/dwpw_attention.h"
#include "cuda/mma.cuh"

namespace awsrn_fast {

// T: the maps' values; D: channels out, rounded up to 32, 64 or 128; Warps: of a block.
template <class T, int D, int Warps>
struct DwpwAttentionTile {
  static constexpr int kThreads = 32 * Warps;
  static constexpr int kRows = Warps, kColumns = 16, kPositions = kRows * kColumns;
  static constexpr int kVector = kWidest<T>;
  static constexpr int kGroup = 4 * kVector;  // channels
  static constexpr int kProducts = kVector / 2;  // of 8 columns each, for a group
  static constexpr int kGroupStride = kGroup + kVector, kOutStride = D + kVector;
  static_assert(kGroupStride / kVector % 2 == 1 && kOutStride / kVector % 2 == 1, "rows of products: see mma.cuh");
  static constexpr int kHaloRows = kRows + 2, kHaloColumns = kColumns + 2;

  // Values of shared memory.
  static constexpr int kHalo = kHaloRows * kHaloColumns * kGroup;
  static constexpr int kDepthwise = 10 * kGroup;  // nine weights and the bias
  static constexpr int kPointwise = D * kGroupStride, kAttention = kGroup * kOutStride;
  static constexpr int kWeights = kPointwise > kAttention ? kPointwise : kAttention;
};

// The channel of a product's column (or of a weight's row); its inverse is in load_weights.
template <class T>
constexpr __device__ int dwpw_attention_channel(int column) {
  constexpr int kVector = kWidest<T>, kGroup = 4 * kVector;
  return column / kGroup * kGroup + column % 8 / 2 * kVector + column % kGroup / 8 * 2 + column % 2;
}

// Where a block's tile and a lane's two positions lie.
template <class Tile>
struct DwpwAttentionPlace {
  Index image;
  int row, column;  // the tile's first
  int lane, warp;

  __device__ DwpwAttentionPlace(const DwpwAttentionMaps& maps, Index tile)
      : lane(threadIdx.x % 32), warp(threadIdx.x / 32) {
    const Index across = ceil_div(maps.w, Tile::kColumns), down = ceil_div(maps.h, Tile::kRows);
    column = int(tile % across) * Tile::kColumns;
    row = int(tile / across % down) * Tile::kRows;
    image = tile / across / down;
  }
  __device__ int row_in_tile(int r) const { return warp / 2 * 2 + r; }
  __device__ int column_in_tile() const { return warp % 2 * 8 + lane / 4; }
  __device__ bool inside(const DwpwAttentionMaps& maps, int r) const {
    return row + row_in_tile(r) < maps.h && column + column_in_tile() < maps.w;
  }
  __device__ Index position(const DwpwAttentionMaps& maps, int r) const {
    return (image * maps.h + row + row_in_tile(r)) * maps.w + column + column_in_tile();
  }
  // The lane's first channel of a group.
  __device__ int channel(int group) const { return group * Tile::kGroup + lane % 4 * Tile::kVector; }
};

template <class Tile>
constexpr Index dwpw_attention_tiles(const DwpwAttentionMaps& maps) {
  return maps.n * ceil_div(maps.h, Tile::kRows) * ceil_div(maps.w, Tile::kColumns);
}

// Weights [rows, columns] from (first_row, first_column) on as a tile of Rows x Columns, both in the products' order,
// zeros outside.
template <class Tile, int Rows, int Columns, class T>
__device__ __forceinline__ void load_weights(const T* weights, int rows, int columns, int first_row, int first_column,
                                             T* tile, int stride) {
  using Pair = typename detail::Word<2 * int(sizeof(T))>::type;
  constexpr int kVectors = Columns / Tile::kVector;
  for (int i = threadIdx.x; i < Rows * kVectors; i += Tile::kThreads) {
    const int vector = i % kVectors;
    const int row = first_row + dwpw_attention_channel<T>(i / kVectors), column = first_column + vector * Tile::kVector;
    uint4 word = make_uint4(0, 0, 0, 0);
    if (row < rows && column < columns) word = *reinterpret_cast<const uint4*>(weights + row * columns + column);
    const Pair* pairs = reinterpret_cast<const Pair*>(&word);
    T* to = tile + i / kVectors * stride + vector / 4 * Tile::kGroup + vector % 4 * 2;
#pragma unroll
    for (int k = 0; k < Tile::kProducts; ++k) *reinterpret_cast<Pair*>(to + 8 * k) = pairs[k];
  }
}

// One group of x around the tile, zeros outside of the map.
template <class Tile, class T>
__device__ __forceinline__ void load_halo(const DwpwAttentionMaps& maps, const DwpwAttentionPlace<Tile>& place,
                                          const T* __restrict__ x, int group, T* halo) {
  constexpr int kVectors = 4 * Tile::kHaloRows * Tile::kHaloColumns;
  constexpr int kSteps = int(ceil_div(kVectors, Tile::kThreads));
  uint4 words[kSteps];
  // All loads first: they are under way together.
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int i = threadIdx.x + step * Tile::kThreads;
    const int row = place.row + i / 4 / Tile::kHaloColumns - 1, column = place.column + i / 4 % Tile::kHaloColumns - 1;
    const int channel = group * Tile::kGroup + i % 4 * Tile::kVector;
    words[step] = make_uint4(0, 0, 0, 0);
    if (i < kVectors && row >= 0 && row < maps.h && column >= 0 && column < maps.w && channel < maps.c)
      words[step] =
          *reinterpret_cast<const uint4*>(x + ((place.image * maps.h + row) * maps.w + column) * maps.c + channel);
  }
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int i = threadIdx.x + step * Tile::kThreads;
    if (i < kVectors) *reinterpret_cast<uint4*>(halo + i * Tile::kVector) = words[step];
  }
}

// The depthwise weights of a group, each of the nine for all channels, then the biases.
template <class Tile, class T>
__device__ __forceinline__ void load_depthwise_weights(const DwpwAttentionMaps& maps, const T* weights, const T* bias,
                                                       int group, T* shared) {
  const int first = group * Tile::kGroup, channels = int(maps.c) - first;
  for (int i = threadIdx.x; i < 9 * Tile::kGroup; i += Tile::kThreads)
    shared[i % 9 * Tile::kGroup + i / 9] = i / 9 < channels ? weights[first * 9 + i] : from_float<T>(0.0f);
  for (int i = threadIdx.x; i < Tile::kGroup; i += Tile::kThreads)
    shared[9 * Tile::kGroup + i] = i < channels ? bias[first + i] : from_float<T>(0.0f);
}

// The depthwise convolution at a lane's two positions, as a product's D.
template <class Tile, class T>
__device__ __forceinline__ void depthwise(const DwpwAttentionPlace<Tile>& place, const T* halo, const T* weights,
                                          float (&out)[Tile::kProducts][4]) {
  constexpr int V = Tile::kVector;
  const int vector = place.lane % 4 * V;
  float sums[2][V];
  load(weights + 9 * Tile::kGroup + vector, sums[0]);
#pragma unroll
  for (int k = 0; k < V; ++k) sums[1][k] = sums[0][k];
#pragma unroll 1  // or all loads would be under way at once, and their registers too many
  for (int dx = 0; dx < 3; ++dx) {
    float w[3][V];
#pragma unroll
    for (int dy = 0; dy < 3; ++dy) load(weights + (dy * 3 + dx) * Tile::kGroup + vector, w[dy]);
#pragma unroll
    for (int row = 0; row < 4; ++row) {
      float x[V];
      const int at = (place.row_in_tile(row)) * Tile::kHaloColumns + place.column_in_tile() + dx;
      load(halo + at * Tile::kGroup + vector, x);
#pragma unroll
      for (int r = 0; r < 2; ++r)
        if (row - r >= 0 && row - r < 3)
#pragma unroll
          for (int k = 0; k < V; ++k) sums[r][k] += w[row - r][k] * x[k];
    }
  }
#pragma unroll
  for (int i = 0; i < 4 * Tile::kProducts; ++i) out[i / 4][i % 4] = sums[i % 4 / 2][i / 4 * 2 + i % 2];
}

// A lane's values of one of its positions, out of a group's products, in memory's order; and back.
template <int Products>
__device__ __forceinline__ void take_position(const float (&products)[Products][4], int r,
                                              float (&values)[2 * Products]) {
#pragma unroll
  for (int k = 0; k < 2 * Products; ++k) values[k] = products[k / 2][2 * r + k % 2];
}
template <int Products>
__device__ __forceinline__ void put_position(const float (&values)[2 * Products], int r,
                                             float (&products)[Products][4]) {
#pragma unroll
  for (int k = 0; k < 2 * Products; ++k) products[k / 2][2 * r + k % 2] = values[k];
}

// A group's biases for both positions, zeros behind the last channel.
template <class Tile, class T>
__device__ __forceinline__ void load_bias(const T* bias, int channels, int channel, float (&out)[Tile::kProducts][4]) {
  float values[Tile::kVector] = {};
  if (channel < channels) load(bias + channel, values);
  put_position(values, 0, out);
  put_position(values, 1, out);
}

// Selects the products of one group from a row of products. Registers cannot be indexed, so every group is compared.
template <int Products, int All>
__device__ __forceinline__ void take_group(const float (&all)[All][4], int group, float (&out)[Products][4]) {
#pragma unroll
  for (int i = 0; i < All; ++i)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i / Products == group) out[i % Products][k] = all[i][k];
}

// Y of the tile's positions. After it `depthwise_out` is the last group's. All threads come here.
template <class Tile, int Arch, int D, class T>
__device__ __forceinline__ void pointwise(const DwpwAttentionMaps& maps, const DwpwAttentionWeights& weights,
                                          const DwpwAttentionPlace<Tile>& place, const T* x, T* shared_weights,
                                          T* shared_depthwise, T* halo, float (&depthwise_out)[Tile::kProducts][4],
                                          float (&y)[D / 8][4]) {
  using Product = Mma<T, Arch>;
#pragma unroll
  for (int i = 0; i < D / 8; i += Tile::kProducts) {
    float bias[Tile::kProducts][4];
    load_bias<Tile>(static_cast<const T*>(weights.b_pw), int(maps.d), place.channel(i / Tile::kProducts), bias);
#pragma unroll
    for (int k = 0; k < 4 * Tile::kProducts; ++k) y[i + k / 4][k % 4] = bias[k / 4][k % 4];
  }
  const int groups = int(ceil_div(maps.c, Tile::kGroup));
  for (int group = 0; group < groups; ++group) {
    __syncthreads();
    load_halo(maps, place, x, group, halo);
    load_depthwise_weights<Tile>(maps, static_cast<const T*>(weights.w_dw), static_cast<const T*>(weights.b_dw), group,
                                 shared_depthwise);
    load_weights<Tile, D, Tile::kGroup>(static_cast<const T*>(weights.w_pw), int(maps.d), int(maps.c), 0,
                                        group * Tile::kGroup, shared_weights, Tile::kGroupStride);
    __syncthreads();
    depthwise(place, halo, shared_depthwise, depthwise_out);
#pragma unroll
    for (int k = 0; k < Tile::kGroup; k += Product::kDepth) {
      typename Product::A a;
      Product::from_products(a, &depthwise_out[k / 8], place.lane);
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
        typename Product::B b;
        Product::load_b(b, shared_weights + 8 * i * Tile::kGroupStride + k, Tile::kGroupStride, place.lane);
        Product::product(y[i], a, b);
      }
    }
  }
}

// The attention of one group of channels out, before the sigmoid; its rows of w_a are in shared memory.
template <class Tile, int Arch, int D, class T>
__device__ __forceinline__ void attention(const DwpwAttentionMaps& maps, const DwpwAttentionWeights& weights,
                                          const DwpwAttentionPlace<Tile>& place, int group, const T* shared_weights,
                                          const float (&y)[D / 8][4], float (&s)[Tile::kProducts][4]) {
  using Product = Mma<T, Arch>;
  load_bias<Tile>(static_cast<const T*>(weights.b_a), int(maps.d), place.channel(group), s);
#pragma unroll
  for (int k = 0; k < D; k += Product::kDepth) {
    typename Product::A a;
    Product::from_products(a, &y[k / 8], place.lane);
#pragma unroll
    for (int i = 0; i < Tile::kProducts; ++i) {
      typename Product::B b;
      Product::load_b(b, shared_weights + 8 * i * Tile::kOutStride + k, Tile::kOutStride, place.lane);
      Product::product(s[i], a, b);
    }
  }
}

// Half types round coarser than the fast exponential.
template <class T>
__device__ __forceinline__ float sigmoid(float s) {
  if constexpr (sizeof(T) == sizeof(float))
    return 1.0f / (1.0f + expf(-s));
  else
    return __fdividef(1.0f, 1.0f + __expf(-s));
}

}  // namespace awsrn_fast
