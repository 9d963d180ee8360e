// One pass over the maps; each block leaves the sums of its chunk of positions, and a second kernel adds the chunks in
// order. The second launch is what a total over blocks costs without atomics; maps of one chunk need none in forward.
#pragma once

#include "common/tiles.h"
#include "cuda/device.cuh"
#include "cuda/gated_residual.h"

namespace awsrn_fast {

// How the maps are shared out. A block of kThreads holds `width` vectors of channels times `rows` positions in
// channels_last, and kThreads vectors of positions of one channel in NCHW.
struct GatedResidualTile {
  static constexpr int kThreads = 256;
  static constexpr int kFwdBlocks = 4;       // on an SM of compute capability 7.5: its 1024 threads
  static constexpr int kBwdBlocks = 3;       // the sums of 8 values of two products want more than 64 registers
  static constexpr int kSumThreads = 256;    // of the second kernel: 32 channels times 8 chunks
  static constexpr int kSumBlocks = 4;
  static constexpr int kSteps = 4;           // positions a thread, so that small maps still fill the GPU
  static constexpr int kMostChunks = 1024;   // more would make the second kernel slow

  int width, rows;
  Index tiles;          // of channels
  Index chunk, chunks;  // positions a block (vectors of them in NCHW), and how many blocks a map takes
};

constexpr GatedResidualTile gated_residual_tile(const GatedResidualMaps& maps, int vector) {
  GatedResidualTile tile{};
  const Index vectors = ceil_div(maps.channels_last ? maps.c : 1, maps.channels_last ? vector : 1);
  const Index positions = maps.channels_last ? maps.hw : maps.hw / vector;
  tile.width = int(vectors < GatedResidualTile::kThreads ? (vectors > 0 ? vectors : 1) : GatedResidualTile::kThreads);
  tile.rows = GatedResidualTile::kThreads / tile.width;
  tile.tiles = maps.channels_last ? ceil_div(vectors, tile.width) : maps.c;
  const Index even = ceil_div(positions, GatedResidualTile::kMostChunks);
  const Index steps = ceil_div(even, tile.rows);
  tile.chunk = tile.rows * (steps > GatedResidualTile::kSteps ? steps : GatedResidualTile::kSteps);
  tile.chunks = ceil_div(positions, tile.chunk);
  return tile;
}

template <class Pointers>
struct GatedResidualParams {
  Pointers a;
  GatedResidualTile tile;
  float* sums;    // [kinds, N, chunks, C]
  float* totals;  // backward: [kinds, blocks], of the two scales' gradients
  Index blocks;
};

// The range that one thread iterates over.
template <int V, bool ChannelsLast>
struct GatedResidualStrip {
  Index image, chunk, channel;
  Index offset, step;
  int count;

  template <class Params>
  __device__ explicit GatedResidualStrip(const Params& p) {
    const GatedResidualMaps& maps = p.a.maps;
    const GatedResidualTile& tile = p.tile;
    const Index outer = blockIdx.x / tile.tiles;
    image = outer / tile.chunks;
    chunk = outer % tile.chunks;
    const int row = threadIdx.x / tile.width;
    const Index first = chunk * tile.chunk + row;
    const Index positions = ChannelsLast ? maps.hw : maps.hw / V;
    Index last = (chunk + 1) * tile.chunk;
    if (last > positions) last = positions;
    if constexpr (ChannelsLast) {
      channel = (blockIdx.x % tile.tiles * tile.width + threadIdx.x % tile.width) * V;
      offset = (image * maps.hw + first) * maps.c + channel;
      step = tile.rows * maps.c;
    } else {
      channel = blockIdx.x % tile.tiles;
      offset = (image * maps.c + channel) * maps.hw + first * V;
      step = Index(tile.rows) * V;
    }
    const bool works = row < tile.rows && channel < maps.c && first < last;
    count = works ? int(ceil_div(last - first, tile.rows)) : 0;
  }
};

// The value of each of a thread's V elements: theirs in channels_last, one for all in NCHW, `otherwise` without any.
template <int V, bool ChannelsLast, class T>
__device__ __forceinline__ void load_per_channel(const T* values, Index at, bool works, float otherwise,
                                                 float (&out)[V]) {
#pragma unroll
  for (int k = 0; k < V; ++k) out[k] = otherwise;
  if (!values || !works) return;
  if constexpr (ChannelsLast) {
    load(values + at, out);
  } else {
    const float value = to_float(values[at]);
#pragma unroll
    for (int k = 0; k < V; ++k) out[k] = value;
  }
}

template <class T, int V, bool ChannelsLast>
__device__ __forceinline__ void load_per_channel(const Values& values, Index at, bool works, float otherwise,
                                                 float (&out)[V]) {
  if (values.fp32)
    load_per_channel<V, ChannelsLast>(static_cast<const float*>(values.at), at, works, otherwise, out);
  else
    load_per_channel<V, ChannelsLast>(static_cast<const T*>(values.at), at, works, otherwise, out);
}

// Floats of shared memory for sum_positions. A thread's values lie a pitch apart that spreads the V values of 32 / V
// neighbours over all banks.
template <int V>
constexpr int kSumPitch = GatedResidualTile::kThreads + 32 / V;
template <int V>
constexpr int kSumFloats = V * kSumPitch<V> + GatedResidualTile::kThreads;

// The sums over the block's positions, one per channel that it holds: `done(channel within the block, sum)`, called by
// one thread each. All threads come here.
template <int V, bool ChannelsLast, class Done>
__device__ __forceinline__ void sum_positions(const GatedResidualTile& tile, const float (&sums)[V], float* shared,
                                              Done done) {
  constexpr int kThreads = GatedResidualTile::kThreads, kPitch = kSumPitch<V>;
  const int thread = threadIdx.x;
  if constexpr (ChannelsLast) {
    const int channels = tile.width * V;
    const int groups = channels < kThreads ? kThreads / channels : 1;
    float* group_sums = shared + V * kPitch;
#pragma unroll
    for (int k = 0; k < V; ++k) shared[k * kPitch + thread] = sums[k];
    __syncthreads();
    for (int i = thread; i < channels * groups; i += kThreads) {
      const int channel = i % channels;
      float sum = 0;
      for (int row = i / channels; row < tile.rows; row += groups)
        sum += shared[channel % V * kPitch + row * tile.width + channel / V];
      if (groups == 1)
        done(channel, sum);
      else
        group_sums[i] = sum;
    }
    if (groups == 1) return;
    __syncthreads();
    if (thread >= channels) return;
    float sum = 0;
    for (int group = 0; group < groups; ++group) sum += group_sums[group * channels + thread];
    done(thread, sum);
  } else {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < V; ++k) sum += sums[k];
    sum = warp_sum(sum);
    if (thread % 32 == 0) shared[thread / 32] = sum;
    __syncthreads();
    if (thread == 0) {
      float total = 0;
      for (int warp = 0; warp < kThreads / 32; ++warp) total += shared[warp];
      done(0, total);
    }
  }
}

// The sum over the block of one value a thread, in thread 0. `shared`: a float a warp.
__device__ __forceinline__ float block_sum(float value, float* shared) {
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  if (threadIdx.x == 0)
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += shared[warp];
  return total;
}

template <class T, int V, bool ChannelsLast>
__global__ void __launch_bounds__(GatedResidualTile::kThreads, GatedResidualTile::kFwdBlocks)
    gated_residual_fwd_kernel(GatedResidualParams<GatedResidualFwd> p) {
  const GatedResidualStrip<V, ChannelsLast> strip(p);
  const GatedResidualMaps& maps = p.a.maps;
  const T* __restrict__ x = static_cast<const T*>(p.a.x);
  const T* __restrict__ f = static_cast<const T*>(p.a.f);
  T* __restrict__ y = static_cast<T*>(p.a.y);
  const float x_scale = value_at<T>(p.a.x_scale, 0, 1.0f);
  const float res_scale = value_at<T>(p.a.res_scale, 0, 1.0f);
  float f_scale[V];
  load_per_channel<T, V, ChannelsLast>(p.a.gate, strip.image * maps.c + strip.channel, strip.count > 0, 1.0f, f_scale);
  float sums[V] = {};
#pragma unroll
  for (int k = 0; k < V; ++k) f_scale[k] *= res_scale;
#pragma unroll 2
  for (int i = 0; i < strip.count; ++i) {
    const Index at = strip.offset + i * strip.step;
    float xs[V], fs[V];
    load(x + at, xs);
    load(f + at, fs);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      xs[k] = x_scale * xs[k] + f_scale[k] * fs[k];
      sums[k] += xs[k];
    }
    store(y + at, xs);
  }

  const Index first = ChannelsLast ? strip.channel - threadIdx.x % p.tile.width * V : strip.channel;
  sum_positions<V, ChannelsLast>(p.tile, sums, dynamic_shared<float>(), [&](int channel, float sum) {
    const Index c = first + channel;
    if (c >= maps.c) return;
    if (p.tile.chunks == 1) {
      static_cast<T*>(p.a.mean)[strip.image * maps.c + c] = from_float<T>(sum / float(maps.hw));
    } else {
      p.sums[(strip.image * p.tile.chunks + strip.chunk) * maps.c + c] = sum;
    }
  });
}

template <class T, int V, bool ChannelsLast>
__global__ void __launch_bounds__(GatedResidualTile::kThreads, GatedResidualTile::kBwdBlocks)
    gated_residual_bwd_kernel(GatedResidualParams<GatedResidualBwd> p) {
  const GatedResidualStrip<V, ChannelsLast> strip(p);
  const GatedResidualMaps& maps = p.a.maps;
  const T* __restrict__ grad_y = static_cast<const T*>(p.a.grad_y);
  const T* __restrict__ x = static_cast<const T*>(p.a.x);
  const T* __restrict__ f = static_cast<const T*>(p.a.f);
  T* __restrict__ grad_x = static_cast<T*>(p.a.grad_x);
  T* __restrict__ grad_f = static_cast<T*>(p.a.grad_f);
  const bool has_grad_y = p.a.grad_y, has_x = p.a.x, has_f = p.a.f, wants_x = p.a.grad_x, wants_f = p.a.grad_f;
  const float x_scale = value_at<T>(p.a.x_scale, 0, 1.0f);
  const float res_scale = value_at<T>(p.a.res_scale, 0, 1.0f);
  const Index channels = strip.image * maps.c + strip.channel;
  float from_mean[V], f_scale[V], times_f[V] = {}, times_x[V] = {};
  load_per_channel<V, ChannelsLast>(static_cast<const T*>(p.a.grad_mean), channels, strip.count > 0, 0.0f, from_mean);
  load_per_channel<T, V, ChannelsLast>(p.a.gate, channels, strip.count > 0, 1.0f, f_scale);
  const float share = 1.0f / float(maps.hw);
#pragma unroll
  for (int k = 0; k < V; ++k) {
    from_mean[k] *= share;
    f_scale[k] *= res_scale;
  }
#pragma unroll 2
  for (int i = 0; i < strip.count; ++i) {
    const Index at = strip.offset + i * strip.step;
    float grad[V], other[V];
#pragma unroll
    for (int k = 0; k < V; ++k) grad[k] = 0;
    if (has_grad_y) load(grad_y + at, grad);
#pragma unroll
    for (int k = 0; k < V; ++k) grad[k] += from_mean[k];
    if (has_f) {
      load(f + at, other);
#pragma unroll
      for (int k = 0; k < V; ++k) times_f[k] += grad[k] * other[k];
    }
    if (has_x) {
      load(x + at, other);
#pragma unroll
      for (int k = 0; k < V; ++k) times_x[k] += grad[k] * other[k];
    }
    if (wants_x) {
#pragma unroll
      for (int k = 0; k < V; ++k) other[k] = x_scale * grad[k];
      store(grad_x + at, other);
    }
    if (wants_f) {
#pragma unroll
      for (int k = 0; k < V; ++k) other[k] = f_scale[k] * grad[k];
      store(grad_f + at, other);
    }
  }
  if (!has_f && !has_x) return;

  const Index first = ChannelsLast ? strip.channel - threadIdx.x % p.tile.width * V : strip.channel;
  float* shared = dynamic_shared<float>();
  float to_res_scale = 0, to_x_scale = 0;
  if (has_f) {
    sum_positions<V, ChannelsLast>(p.tile, times_f, shared, [&](int channel, float sum) {
      const Index c = first + channel;
      if (c >= maps.c) return;
      p.sums[(strip.image * p.tile.chunks + strip.chunk) * maps.c + c] = sum;
      to_res_scale += value_at<T>(p.a.gate, strip.image * maps.c + c, 1.0f) * sum;
    });
    __syncthreads();
    const float total = block_sum(to_res_scale, shared);
    if (threadIdx.x == 0) p.totals[blockIdx.x] = total;
    __syncthreads();
  }
  if (has_x) {
#pragma unroll
    for (int k = 0; k < V; ++k) to_x_scale += times_x[k];
    const float total = block_sum(to_x_scale, shared);
    if (threadIdx.x == 0) p.totals[p.blocks + blockIdx.x] = total;
  }
}

// Adds up the chunks of 32 channels of one image: eight warps, each every eighth chunk, then the warps in order.
template <class Pointers>
__device__ __forceinline__ float sum_chunks(const GatedResidualParams<Pointers>& p, Index image, Index channel,
                                            float* shared) {
  constexpr int kWarps = GatedResidualTile::kSumThreads / 32;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float sum = 0;
  if (channel < p.a.maps.c)
    for (Index chunk = warp; chunk < p.tile.chunks; chunk += kWarps)
      sum += p.sums[(image * p.tile.chunks + chunk) * p.a.maps.c + channel];
  shared[warp * 32 + lane] = sum;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < kWarps; ++w) total += shared[w * 32 + lane];
  return total;
}

template <class T>
__global__ void __launch_bounds__(GatedResidualTile::kSumThreads, GatedResidualTile::kSumBlocks)
    gated_residual_fwd_sum_kernel(GatedResidualParams<GatedResidualFwd> p) {
  const GatedResidualMaps& maps = p.a.maps;
  const Index groups = ceil_div(maps.c, 32);
  const Index image = blockIdx.x / groups, channel = blockIdx.x % groups * 32 + threadIdx.x % 32;
  const float total = sum_chunks(p, image, channel, dynamic_shared<float>());
  if (threadIdx.x < 32 && channel < maps.c)
    static_cast<T*>(p.a.mean)[image * maps.c + channel] = from_float<T>(total / float(maps.hw));
}

// The last block adds up the blocks' shares of the scales' gradients, all others 32 channels each.
template <class T>
__global__ void __launch_bounds__(GatedResidualTile::kSumThreads, GatedResidualTile::kSumBlocks)
    gated_residual_bwd_sum_kernel(GatedResidualParams<GatedResidualBwd> p) {
  const GatedResidualMaps& maps = p.a.maps;
  float* shared = dynamic_shared<float>();
  if (blockIdx.x + 1 < gridDim.x) {
    const Index groups = ceil_div(maps.c, 32);
    const Index image = blockIdx.x / groups, channel = blockIdx.x % groups * 32 + threadIdx.x % 32;
    const float total = sum_chunks(p, image, channel, shared);
    const float res_scale = value_at<T>(p.a.res_scale, 0, 1.0f);
    if (threadIdx.x < 32 && channel < maps.c)
      p.a.grad_gate[image * maps.c + channel] = res_scale * total;
    return;
  }
  float* const wanted[] = {p.a.grad_res_scale, p.a.grad_x_scale};
  for (int kind = 0; kind < 2; ++kind) {
    if (!wanted[kind]) continue;
    float sum = 0;
    for (Index i = threadIdx.x; i < p.blocks; i += blockDim.x) sum += p.totals[kind * p.blocks + i];
    const float total = block_sum(sum, shared + 32 * kind);
    if (threadIdx.x == 0) *wanted[kind] = total;
  }
}

}  // namespace awsrn_fast
