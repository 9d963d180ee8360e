// Backward in three kernels. The first computes Y and the gate again, tile by tile as forward, and goes back through
// both products to the gradient of the depthwise convolution's output; the products' weight gradients are added up over
// the tiles of a block, in its own slice of the workspace. The second takes that gradient through the depthwise
// convolution, with the weights' gradient from the same neighbours. The third adds up the blocks' sums, in their order.
#pragma once

#include "cuda/dwpw_attention_tile.cuh"

namespace awsrn_fast {

// Blocks of the first two kernels: as many as run at a time on the largest GPU of the architecture that is common, so
// that there are few slices to add up. A constant, so that results do not depend on the GPU.
constexpr int dwpw_attention_multiprocessors(int arch) { return arch < 80 ? 72 : 132; }

template <class T, int D>
struct DwpwAttentionBwdTile : DwpwAttentionTile<T, D, sizeof(T) == 4 ? 4 : 8> {
  using Base = DwpwAttentionTile<T, D, sizeof(T) == 4 ? 4 : 8>;
  // The tile's Y, then its gradient, by position; for a group of channels the attention's gradient, then the depthwise
  // convolution's output, where x was before.
  static constexpr int kOut = Base::kPositions * Base::kOutStride, kStaged = Base::kPositions * Base::kGroupStride;
  static constexpr int kShare = Base::kHalo > kStaged ? Base::kHalo : kStaged;
  static constexpr int kSharedBytes = (Base::kWeights + Base::kDepthwise + kShare + kOut) * int(sizeof(T));
  static constexpr int kBlocks = D == 32 ? 2 : 1;  // on an SM of compute capability 7.5: registers and shared memory
};

struct DwpwAttentionDepthwiseTile {
  static constexpr int kThreads = 256;
  // On an SM. Three blocks leave a thread 80 registers: enough on sm_75, while code for later ones spills.
  static constexpr int blocks(int arch) { return arch < 80 ? 3 : 2; }
  static constexpr int kRows = 8;  // that a thread walks down in one go; on either side one more is read
  static constexpr int kSharedBytes = 20 * kThreads * int(sizeof(float));  // first the weights, then the sums
};

struct DwpwAttentionSumTile {
  static constexpr int kThreads = 256, kBlocks = 4, kElements = 32;
};

// A block's slice: the fragments, 128 floats each, of grad_w_a [D, D], grad_w_pw [D, C] and, as a further column of
// either, their biases' gradients.
struct DwpwAttentionSlice {
  int rows, attention_columns, pointwise_columns;  // in fragments of 16 x 8

  constexpr DwpwAttentionSlice(Index c, int width, int group)
      : rows(width / 16),
        attention_columns(width / 8 + 1),
        pointwise_columns(int(ceil_div(c, group)) * group / 8 + 1) {}
  constexpr int floats() const { return 128 * rows * (attention_columns + pointwise_columns); }
};

struct DwpwAttentionBwdParams {
  DwpwAttentionBwd a;
  DwpwAttentionSlice slice;
  Index tiles, slices;  // of the first kernel, and its blocks
  Index strips, strip_blocks;  // of the second
  float* slice_sums;  // [slices, slice.floats()]
  float* strip_sums;  // [strip_blocks, 10, C]
};

// Adds A^T B, summed over the tile's positions, to fragments of a slice: A [positions, 16 Rows], B [positions, 8
// Columns]. Fragment (i, j) lies at sums + 128 * (i * columns + j); with `ones`, A^T 1 at ones + 128 * i * columns.
template <class Tile, int Arch, int Rows, int Columns, class T>
__device__ __forceinline__ void add_weight_gradient(const T* a, int a_stride, const T* b, int b_stride, int warp,
                                                    int lane, bool first, float* sums, float* ones, int columns) {
  using Product = Mma<T, Arch>;
  constexpr int kWarps = Tile::kThreads / 32;
  // Neighbours share A and hide each other's latency, where there are enough for all warps.
  constexpr int kAtOnce = Columns % 2 == 0 && Rows * Columns >= 2 * kWarps ? 2 : 1;
#pragma unroll 1
  for (int unit = warp * kAtOnce; unit < Rows * Columns; unit += kWarps * kAtOnce) {
    const int i = unit / Columns, j = unit % Columns;
    const bool of_bias = ones && j == 0;
    float* to = sums + 128 * (i * columns + j) + 4 * lane;
    float* to_bias = of_bias ? ones + 128 * i * columns + 4 * lane : nullptr;
    float d[kAtOnce][4] = {}, bias[4] = {};
    if (!first) {
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) load(to + 128 * n, d[n]);
      if (of_bias) load(to_bias, bias);
    }
    // Beside 128 channels out, whose values and gradients take half of the registers, four at a time spill on sm_90.
#pragma unroll(Columns >= 16 ? 2 : 4)
    for (int k = 0; k < Tile::kPositions; k += Product::kDepth) {
      typename Product::A fragment;
      typename Product::B other;
      Product::load_a_columns(fragment, a + k * a_stride + 16 * i, a_stride, lane);
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) {
        Product::load_b_rows(other, b + k * b_stride + 8 * (j + n), b_stride, lane);
        Product::product(d[n], fragment, other);
      }
      if (of_bias) {
        Product::ones(other);
        Product::product(bias, fragment, other);
      }
    }
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) store(to + 128 * n, d[n]);
    if (of_bias) store(to_bias, bias);
  }
}

// Products' D into shared memory, position by position.
template <int Products, class T>
__device__ __forceinline__ void stage(const float (&products)[Products][4], T* to, int stride, int warp, int lane) {
#pragma unroll
  for (int i = 0; i < Products; ++i)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float pair[2] = {products[i][2 * r], products[i][2 * r + 1]};
      store(to + (warp * 16 + lane / 4 + 8 * r) * stride + 8 * i + lane % 4 * 2, pair);
    }
}

template <class T, int Arch, int D>
__global__ void __launch_bounds__(DwpwAttentionBwdTile<T, D>::kThreads, DwpwAttentionBwdTile<T, D>::kBlocks)
    dwpw_attention_bwd_kernel(DwpwAttentionBwdParams p) {
  if constexpr (instance_runs_here<T, Arch>()) {
    using Tile = DwpwAttentionBwdTile<T, D>;
    using Product = Mma<T, Arch>;
    constexpr int V = Tile::kVector, kProducts = Tile::kProducts;
    const DwpwAttentionMaps& maps = p.a.maps;
    T* weights = dynamic_shared<T>();
    T* depthwise_weights = weights + Tile::kWeights;
    T* halo = depthwise_weights + Tile::kDepthwise;
    T* staged = halo;
    T* out = halo + Tile::kShare;
    const bool sums = p.a.grad_w_dw;
    float* to_attention = p.slice_sums + blockIdx.x * Index(p.slice.floats());
    float* to_pointwise = to_attention + 128 * p.slice.rows * p.slice.attention_columns;

    for (Index tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
      const DwpwAttentionPlace<Tile> place(maps, tile);
      const bool first = tile == blockIdx.x;
      float depthwise_out[kProducts][4], y[D / 8][4], grad[D / 8][4] = {};
      pointwise<Tile, Arch, D>(maps, p.a.weights, place, static_cast<const T*>(p.a.x), weights, depthwise_weights, halo,
                               depthwise_out, y);
      if (sums) stage(y, out, Tile::kOutStride, place.warp, place.lane);

      const int groups_out = int(ceil_div(maps.d, Tile::kGroup));
#pragma unroll 1
      for (int group = 0; group < D / Tile::kGroup; ++group) {
        if (group >= groups_out && !sums) break;
        const int channel = place.channel(group);
        __syncthreads();
        load_weights<Tile, Tile::kGroup, D>(static_cast<const T*>(p.a.weights.w_a), int(maps.d), int(maps.d),
                                            group * Tile::kGroup, 0, weights, Tile::kOutStride);
        __syncthreads();
        float s[kProducts][4], own[kProducts][4];
        attention<Tile, Arch, D>(maps, p.a.weights, place, group, weights, y, s);
        take_group(y, group, own);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float grad_y[V] = {};
          if (channel < maps.d && place.inside(maps, r))
            load(static_cast<const T*>(p.a.grad_y) + place.position(maps, r) * maps.d + channel, grad_y);
#pragma unroll
          for (int k = 0; k < V; ++k) {
            const float gate = sigmoid<T>(s[k / 2][2 * r + k % 2]);
            const float gated = grad_y[k] * gate;
            s[k / 2][2 * r + k % 2] = gated * own[k / 2][2 * r + k % 2] * (1.0f - gate);
            own[k / 2][2 * r + k % 2] = gated;
          }
        }
#pragma unroll
        for (int i = 0; i < D / 8; ++i)
#pragma unroll
          for (int k = 0; k < 4; ++k)
            if (i / kProducts == group) grad[i][k] += own[i % kProducts][k];
#pragma unroll
        for (int k = 0; k < Tile::kGroup; k += Product::kDepth) {
          typename Product::A a;
          Product::from_products(a, &s[k / 8], place.lane);
#pragma unroll
          for (int i = 0; i < D / 8; ++i) {
            typename Product::B b;
            Product::load_b_rows(b, weights + k * Tile::kOutStride + 8 * i, Tile::kOutStride, place.lane);
            Product::product(grad[i], a, b);
          }
        }
        if (!sums) continue;
        stage(s, staged, Tile::kGroupStride, place.warp, place.lane);
        __syncthreads();
        add_weight_gradient<Tile, Arch, Tile::kGroup / 16, D / 8>(
            staged, Tile::kGroupStride, out, Tile::kOutStride, place.warp, place.lane, first,
            to_attention + 128 * group * Tile::kGroup / 16 * p.slice.attention_columns,
            to_attention + 128 * ((group * Tile::kGroup / 16 + 1) * p.slice.attention_columns - 1),
            p.slice.attention_columns);
      }

      // The last group first: its depthwise output is at hand.
      const int last = int(ceil_div(maps.c, Tile::kGroup)) - 1;
#pragma unroll 1
      for (int group = last; group >= 0; --group) {
        const int channel = place.channel(group);
        __syncthreads();
        load_weights<Tile, D, Tile::kGroup>(static_cast<const T*>(p.a.weights.w_pw), int(maps.d), int(maps.c), 0,
                                            group * Tile::kGroup, weights, Tile::kGroupStride);
        if (group == last) {
          if (sums) stage(grad, out, Tile::kOutStride, place.warp, place.lane);
        } else if (sums) {
          load_halo(maps, place, static_cast<const T*>(p.a.x), group, halo);
          load_depthwise_weights<Tile>(maps, static_cast<const T*>(p.a.weights.w_dw),
                                       static_cast<const T*>(p.a.weights.b_dw), group, depthwise_weights);
        }
        __syncthreads();
        float grad_depthwise[kProducts][4] = {};
#pragma unroll
        for (int k = 0; k < D; k += Product::kDepth) {
          typename Product::A a;
          Product::from_products(a, &grad[k / 8], place.lane);
#pragma unroll
          for (int i = 0; i < kProducts; ++i) {
            typename Product::B b;
            Product::load_b_rows(b, weights + k * Tile::kGroupStride + 8 * i, Tile::kGroupStride, place.lane);
            Product::product(grad_depthwise[i], a, b);
          }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          if (channel >= maps.c || !place.inside(maps, r)) continue;
          float values[V];
          take_position(grad_depthwise, r, values);
          store(static_cast<T*>(p.a.grad_depthwise) + place.position(maps, r) * maps.c + channel, values);
        }
        if (!sums) continue;
        if (group != last) {
          depthwise(place, halo, depthwise_weights, depthwise_out);
          __syncthreads();
        }
        stage(depthwise_out, staged, Tile::kGroupStride, place.warp, place.lane);
        __syncthreads();
        add_weight_gradient<Tile, Arch, D / 16, Tile::kGroup / 8>(
            out, Tile::kOutStride, staged, Tile::kGroupStride, place.warp, place.lane, first,
            to_pointwise + 128 * group * Tile::kGroup / 8,
            group ? nullptr : to_pointwise + 128 * (p.slice.pointwise_columns - 1), p.slice.pointwise_columns);
      }
    }
  }
}

// A thread has two channels of one column and walks down rows, with their neighbours in registers.
template <class T>
__global__ void __launch_bounds__(DwpwAttentionDepthwiseTile::kThreads,
                                  DwpwAttentionDepthwiseTile::blocks(compiled_arch()))
    dwpw_attention_bwd_depthwise_kernel(DwpwAttentionBwdParams p) {
  using Tile = DwpwAttentionDepthwiseTile;
  const DwpwAttentionMaps& maps = p.a.maps;
  const T* __restrict__ grad = static_cast<const T*>(p.a.grad_depthwise);
  const T* __restrict__ x = static_cast<const T*>(p.a.x);
  T* __restrict__ grad_x = static_cast<T*>(p.a.grad_x);
  const bool sums = p.a.grad_w_dw;
  const int width = int(maps.c) / 2, columns = Tile::kThreads / width;
  const int channel = threadIdx.x % width * 2;
  const Index across = ceil_div(maps.w, columns), down = ceil_div(maps.h, Tile::kRows);

  float* shared = dynamic_shared<float>();
  for (int i = threadIdx.x; i < 9 * int(maps.c); i += Tile::kThreads)
    shared[i] = to_float(static_cast<const T*>(p.a.weights.w_dw)[i]);
  __syncthreads();
  float w[9][2], totals[10][2] = {};
#pragma unroll
  for (int k = 0; k < 9; ++k)
#pragma unroll
    for (int i = 0; i < 2; ++i) w[k][i] = shared[(channel + i) * 9 + k];

  for (Index strip = blockIdx.x; strip < p.strips; strip += gridDim.x) {
    const Index column = strip % across * columns + threadIdx.x / width;
    const Index top = strip / across % down * Tile::kRows, image = strip / across / down;
    const Index bottom = top + Tile::kRows < maps.h ? top + Tile::kRows : maps.h;
    if (int(threadIdx.x) >= width * columns || column >= maps.w) continue;
    const auto offset = [&](Index row, Index at) { return ((image * maps.h + row) * maps.w + at) * maps.c + channel; };
    float near[3][3][2] = {};
    const auto read = [&](Index row, float (&values)[3][2]) {
#pragma unroll
      for (int dx = 0; dx < 3; ++dx) {
        const Index at = column + dx - 1;
        values[dx][0] = values[dx][1] = 0;
        if (row >= 0 && row < maps.h && at >= 0 && at < maps.w) load(grad + offset(row, at), values[dx]);
      }
    };
    read(top - 1, near[0]);
    read(top, near[1]);
    for (Index row = top; row < bottom; ++row) {
      read(row + 1, near[2]);
      float center[2] = {}, result[2] = {};
      if (sums) load(x + offset(row, column), center);
#pragma unroll
      for (int k = 0; k < 9; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float neighbour = near[k / 3][k % 3][i];
          result[i] += w[8 - k][i] * neighbour;
          totals[8 - k][i] += center[i] * neighbour;
        }
#pragma unroll
      for (int i = 0; i < 2; ++i) totals[9][i] += near[1][1][i];
      if (grad_x) store(grad_x + offset(row, column), result);
#pragma unroll
      for (int k = 0; k < 6; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i) near[k / 3][k % 3][i] = near[k / 3 + 1][k % 3][i];
    }
  }
  if (!sums) return;

  __syncthreads();
#pragma unroll
  for (int k = 0; k < 20; ++k) shared[k * Tile::kThreads + threadIdx.x] = totals[k / 2][k % 2];
  __syncthreads();
  for (int i = threadIdx.x; i < 10 * int(maps.c); i += Tile::kThreads) {
    const int kind = i / int(maps.c), c = i % int(maps.c);
    float sum = 0;
    for (int at = 0; at < columns; ++at) sum += shared[(2 * kind + c % 2) * Tile::kThreads + at * width + c / 2];
    p.strip_sums[(blockIdx.x * Index(10) + kind) * maps.c + c] = sum;
  }
}

// Where the sum of one place of the slices belongs.
template <class T>
__device__ __forceinline__ void give_product_gradient(const DwpwAttentionBwdParams& p, int at, float sum) {
  const int c = int(p.a.maps.c), d = int(p.a.maps.d);
  const int fragment = at / 128, lane = at % 128 / 4, i = at % 4;
  const bool is_attention = fragment < p.slice.rows * p.slice.attention_columns;
  const int of_kind = is_attention ? fragment : fragment - p.slice.rows * p.slice.attention_columns;
  const int columns = is_attention ? p.slice.attention_columns : p.slice.pointwise_columns;
  const int row = dwpw_attention_channel<T>(of_kind / columns * 16 + lane / 4 + i / 2 * 8);
  if (row >= d) return;
  if (of_kind % columns == columns - 1) {
    if (lane % 4 == 0 && i % 2 == 0)
      (is_attention ? p.a.grad_b_a : p.a.grad_b_pw)[row] = sum;
    return;
  }
  const int column = dwpw_attention_channel<T>(of_kind % columns * 8 + lane % 4 * 2 + i % 2);
  const int width = is_attention ? d : c;
  if (column >= width) return;
  static_cast<T*>(is_attention ? p.a.grad_w_a : p.a.grad_w_pw)[row * width + column] = from_float<T>(sum);
}

// 32 places a block: eight warps, each every eighth of the blocks before, then the warps in order.
template <class T>
__global__ void __launch_bounds__(DwpwAttentionSumTile::kThreads, DwpwAttentionSumTile::kBlocks)
    dwpw_attention_bwd_sum_kernel(DwpwAttentionBwdParams p) {
  constexpr int kWarps = DwpwAttentionSumTile::kThreads / 32;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int c = int(p.a.maps.c), of_products = p.slice.floats();
  const int at = blockIdx.x * DwpwAttentionSumTile::kElements + lane;
  const bool is_product = at < of_products, exists = at < of_products + 10 * c;
  const float* from = is_product ? p.slice_sums + at : p.strip_sums + (at - of_products);
  const Index count = !exists ? 0 : is_product ? p.slices : p.strip_blocks;
  const Index step = is_product ? of_products : 10 * c;
  float sum = 0;
#pragma unroll 4
  for (Index i = warp; i < count; i += kWarps) sum += from[i * step];
  float* shared = dynamic_shared<float>();
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (warp != 0 || !exists) return;
  float total = 0;
  for (int w = 0; w < kWarps; ++w) total += shared[w * 32 + lane];
  if (is_product) return give_product_gradient<T>(p, at, total);
  const int kind = (at - of_products) / c, channel = (at - of_products) % c;
  if (kind == 9)
    p.a.grad_b_dw[channel] = total;
  else
    static_cast<T*>(p.a.grad_w_dw)[channel * 9 + kind] = from_float<T>(total);
}

}  // namespace awsrn_fast
