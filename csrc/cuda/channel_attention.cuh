// Two matrix-vector products for each image: a block an image, so that one launch does forward. Backward takes two:
// each image's own gradients, then the weights' sums over the images, in order. Both are bound by latency, not by
// memory.
#pragma once

#include "common/tiles.h"
#include "cuda/channel_attention.h"
#include "cuda/device.cuh"

namespace awsrn_fast {

struct ChannelAttentionTile {
  static constexpr int kThreads = 256;
  static constexpr int kBlocks = 4;  // on an SM of compute capability 7.5
  static constexpr int kWarps = kThreads / 32;
  // Images from which on each takes a warp instead of a block: those of gates of every position are as many as the
  // positions. Fewer run all at a time on an RTX 2080 Ti's 68 SMs, and end sooner by a block each.
  static constexpr int kManyImages = 68 * kBlocks;
  static constexpr int kMostHidden = 256;  // of which a warp keeps the values, 8 KB a block
};

constexpr bool channel_attention_by_warps(const ChannelAttentionSizes& sizes) {
  return sizes.n >= ChannelAttentionTile::kManyImages && sizes.r <= ChannelAttentionTile::kMostHidden;
}

// Lanes that share one row of w2, so that a warp's lanes read neighbours in memory: the power of two next to R, up to
// 32.
constexpr int channel_attention_group(Index r) {
  int group = 1;
  while (group < r && group < 32) group *= 2;
  return group;
}

template <class T>
__device__ __forceinline__ float value_or_zero(const T* values, Index at) {
  return values ? to_float(values[at]) : 0.0f;
}

// hidden[r] = relu(w1 mean + b1) of one image, each by a warp. The block's threads see it after the next barrier.
template <class T>
__device__ __forceinline__ void channel_attention_hidden(const ChannelAttentionSizes& sizes, const T* mean, const T* w1,
                                                         const T* b1, float* hidden) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (Index r = warp; r < sizes.r; r += ChannelAttentionTile::kWarps) {
    float sum = 0;
    for (Index c = lane; c < sizes.c; c += 32) sum += to_float(w1[r * sizes.c + c]) * to_float(mean[c]);
    sum = warp_sum(sum) + value_or_zero(b1, r);
    if (lane == 0) hidden[r] = fmaxf(sum, 0.0f);
  }
}

// The gates of one image, each by the lanes of a group: `done(channel, gate)` by the group's first lane.
template <class T, class Done>
__device__ __forceinline__ void channel_attention_gates(const ChannelAttentionSizes& sizes, const T* w2, const T* b2,
                                                        const float* hidden, Done done) {
  const int group = channel_attention_group(sizes.r);
  const int lane = threadIdx.x % group, each = ChannelAttentionTile::kThreads / group;
  // All lanes of a warp take as many steps: the shuffles need all of them.
  for (Index first = 0; first < sizes.c; first += each) {
    const Index c = first + threadIdx.x / group;
    float sum = 0;
    if (c < sizes.c)
      for (Index r = lane; r < sizes.r; r += group) sum += to_float(w2[c * sizes.r + r]) * hidden[r];
    for (int offset = group / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0 && c < sizes.c) done(c, 1.0f / (1.0f + expf(-(sum + value_or_zero(b2, c)))));
  }
}

template <class T>
__global__ void __launch_bounds__(ChannelAttentionTile::kThreads, ChannelAttentionTile::kBlocks)
    channel_attention_fwd_kernel(ChannelAttentionFwd p) {
  const ChannelAttentionSizes& sizes = p.sizes;
  const Index image = blockIdx.x;
  float* hidden = p.hidden + image * sizes.r;
  channel_attention_hidden(sizes, static_cast<const T*>(p.mean) + image * sizes.c, static_cast<const T*>(p.w1),
                           static_cast<const T*>(p.b1), hidden);
  __syncthreads();
  T* gate = static_cast<T*>(p.gate) + image * sizes.c;
  channel_attention_gates(sizes, static_cast<const T*>(p.w2), static_cast<const T*>(p.b2), hidden,
                          [&](Index c, float value) { gate[c] = from_float<T>(value); });
}

// As above, each image by a warp.
template <class T>
__global__ void __launch_bounds__(ChannelAttentionTile::kThreads, ChannelAttentionTile::kBlocks)
    channel_attention_fwd_many_kernel(ChannelAttentionFwd p) {
  constexpr int kWarps = ChannelAttentionTile::kWarps;
  const ChannelAttentionSizes& sizes = p.sizes;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = int(sizes.c), r = int(sizes.r);
  const T* __restrict__ w1 = static_cast<const T*>(p.w1);
  const T* __restrict__ w2 = static_cast<const T*>(p.w2);
  float* const hidden = dynamic_shared<float>() + warp * r;
  const Index step = Index(gridDim.x) * kWarps;
  for (Index image = Index(blockIdx.x) * kWarps + warp; image < sizes.n; image += step) {
    const T* __restrict__ mean = static_cast<const T*>(p.mean) + image * c;
    for (int i = 0; i < r; ++i) {
      float sum = 0;
      for (int at = lane; at < c; at += 32) sum += to_float(w1[i * c + at]) * to_float(mean[at]);
      sum = warp_sum(sum) + value_or_zero(static_cast<const T*>(p.b1), i);
      if (lane == 0) hidden[i] = fmaxf(sum, 0.0f);
    }
    __syncwarp();
    T* __restrict__ gate = static_cast<T*>(p.gate) + image * c;
    for (int at = lane; at < c; at += 32) {
      float sum = value_or_zero(static_cast<const T*>(p.b2), at);
      for (int i = 0; i < r; ++i) sum += to_float(w2[at * r + i]) * hidden[i];
      gate[at] = from_float<T>(1.0f / (1.0f + expf(-sum)));
    }
    __syncwarp();
  }
}

// One image: its hidden values again, the gradients before sigmoid and ReLU, and grad_mean.
template <class T>
__global__ void __launch_bounds__(ChannelAttentionTile::kThreads, ChannelAttentionTile::kBlocks)
    channel_attention_bwd_kernel(ChannelAttentionBwd p) {
  constexpr int kWarps = ChannelAttentionTile::kWarps;
  const ChannelAttentionSizes& sizes = p.sizes;
  const Index image = blockIdx.x;
  const T* w1 = static_cast<const T*>(p.w1);
  const T* w2 = static_cast<const T*>(p.w2);
  const T* grad_gate = static_cast<const T*>(p.grad_gate) + image * sizes.c;
  float* hidden = p.hidden + image * sizes.r;
  float* to_hidden = p.to_hidden + image * sizes.r;
  float* to_gate = p.to_gate + image * sizes.c;

  channel_attention_hidden(sizes, static_cast<const T*>(p.mean) + image * sizes.c, w1, static_cast<const T*>(p.b1),
                           hidden);
  __syncthreads();
  channel_attention_gates(sizes, w2, static_cast<const T*>(p.b2), hidden,
                          [&](Index c, float gate) { to_gate[c] = to_float(grad_gate[c]) * gate * (1.0f - gate); });
  __syncthreads();

  // w2^T to_gate. A lane keeps its column of w2 and walks over rows; lanes a group apart, then warps, are added up.
  float* shared = dynamic_shared<float>();
  const int group = channel_attention_group(sizes.r), rows = 32 / group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (Index first = 0; first < sizes.r; first += group) {
    const Index r = first + lane % group;
    float sum = 0;
    if (r < sizes.r)
      for (Index c = warp * rows + lane / group; c < sizes.c; c += kWarps * rows)
        sum += to_float(w2[c * sizes.r + r]) * to_gate[c];
    for (int offset = 16; offset >= group; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    shared[warp * 32 + lane] = sum;
    __syncthreads();
    if (warp == 0 && lane < group && r < sizes.r) {
      float total = 0;
      for (int w = 0; w < kWarps; ++w) total += shared[w * 32 + lane];
      to_hidden[r] = hidden[r] > 0.0f ? total : 0.0f;
    }
    __syncthreads();
  }

  if (!p.grad_mean) return;
  T* grad_mean = static_cast<T*>(p.grad_mean) + image * sizes.c;
  for (Index c = threadIdx.x; c < sizes.c; c += ChannelAttentionTile::kThreads) {
    float sum = 0;
    for (Index r = 0; r < sizes.r; ++r) sum += to_float(w1[r * sizes.c + c]) * to_hidden[r];
    grad_mean[c] = from_float<T>(sum);
  }
}

// The weights' gradients, a thread an element of each.
template <class T>
__global__ void __launch_bounds__(ChannelAttentionTile::kThreads, ChannelAttentionTile::kBlocks)
    channel_attention_bwd_sum_kernel(ChannelAttentionBwd p) {
  const auto [n, c, r] = p.sizes;
  const Index i = Index(blockIdx.x) * ChannelAttentionTile::kThreads + threadIdx.x;
  const T* mean = static_cast<const T*>(p.mean);
  const auto sum = [n = n](auto value) {
    float total = 0;
    for (Index image = 0; image < n; ++image) total += value(image);
    return from_float<T>(total);
  };
  if (p.grad_w1 && i < r * c) {
    const Index row = i / c, column = i % c;
    static_cast<T*>(p.grad_w1)[i] = sum(
        [&, r = r, c = c](Index image) { return p.to_hidden[image * r + row] * to_float(mean[image * c + column]); });
  }
  if (p.grad_w2 && i < c * r) {
    const Index row = i / r, column = i % r;
    static_cast<T*>(p.grad_w2)[i] =
        sum([&, r = r, c = c](Index image) { return p.to_gate[image * c + row] * p.hidden[image * r + column]; });
  }
  if (p.grad_b1 && i < r)
    static_cast<T*>(p.grad_b1)[i] = sum([&, r = r](Index image) { return p.to_hidden[image * r + i]; });
  if (p.grad_b2 && i < c)
    static_cast<T*>(p.grad_b2)[i] = sum([&, c = c](Index image) { return p.to_gate[image * c + i]; });
}

}  // namespace awsrn_fast
