// The convolution as a product, as in awms.cuh, whose tiles, windows and sums it uses: a block has 16 x 16 positions
// and up to 32 outputs, and keeps the positions and their margin in shared memory for a chunk of channels at a time.
//
// The weight's order is awms.cuh's, each map's channels padded with zeros to whole chunks: [block of outputs, chunk of
// channels of the first map, of the second, ..., tap].
#pragma once

#include "cuda/awms.cuh"
#include "cuda/conv.h"

namespace awsrn_fast {

struct ConvParams {
  Conv a;
  AwmsMaps maps;  // all inputs as one
  AwmsGrid grid;
  int chunks[kConvMostMaps];  // of each map
  Index parts;  // blocks of positions an image has
  bool whole;  // outputs by accesses of 16 bytes
  AwmsDivisor side;  // of the window
};

constexpr AwmsGrid conv_grid(const AwmsMaps& maps) {
  return {ceil_div(maps.h, AwmsTile::kSide), ceil_div(maps.w, AwmsTile::kSide),
          ceil_div(maps.outputs, 8 * conv_tiles(maps.outputs))};
}

template <int Tiles, int K>
constexpr int kConvSharedBytes = awms_fwd_shared_bytes<Tiles>(K);

// V neighbours, of which `valid` exist: at once where all do and lie right for it.
template <int V, class T>
__device__ __forceinline__ void conv_load(const T* from, bool whole, int valid, float (&values)[V]) {
  if (whole) return load(from, values);
#pragma unroll
  for (int k = 0; k < V; ++k) values[k] = k < valid ? to_float(from[k]) : 0.0f;
}

template <int V, class T>
__device__ __forceinline__ void conv_store(T* to, bool whole, int valid, const float (&values)[V]) {
  if (whole) return store(to, values);
#pragma unroll
  for (int k = 0; k < V; ++k)
    if (k < valid) to[k] = from_float<T>(values[k]);
}

// The sums of one warp, and a column of K taps: neighbours in it read the same rows.
template <class T, int Arch, int Tiles, int K>
struct ConvSums : AwmsSums<T, Arch, Tiles> {
  using Base = AwmsSums<T, Arch, Tiles>;

  // `first` is the warp's first position moved by the column's first tap. Taps lie K steps of the weight apart.
  __device__ __forceinline__ void add_column(const T* first, int next_row, const T* weight, int lane) {
    if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll 1
      for (int down = 0; down < K; ++down, weight += K * Base::kStep)
        Base::add(first + down * next_row, next_row, weight, lane);
    } else {
      constexpr int kRows = AwmsTile::kRows;
      std::uint32_t a[kRows + K - 1][4];
#pragma unroll
      for (int row = 0; row < kRows + K - 1; ++row)
        ldmatrix_x4(a[row], first + row * next_row + lane % 16 * Base::kPitch + lane / 16 * 8);
#pragma unroll
      for (int down = 0; down < K; ++down, weight += K * Base::kStep) {
        std::uint32_t b[Tiles][2];
#pragma unroll
        for (int pair = 0; pair < Tiles / 2; ++pair) {
          const uint4 words = reinterpret_cast<const uint4*>(weight)[pair * 32 + lane];
          b[2 * pair][0] = words.x, b[2 * pair][1] = words.y;
          b[2 * pair + 1][0] = words.z, b[2 * pair + 1][1] = words.w;
        }
        mma_depth_16<T, Arch>(this->d, reinterpret_cast<const std::uint32_t (&)[kRows][4]>(a[down]), b);
      }
    }
  }
};

// A chunk of the tile's positions, times the image's gates of its channels.
template <class T>
__device__ __forceinline__ void conv_load_gated(const ConvParams& p, const AwmsPlace& place, const T* image, Index row,
                                                Index first, Index gate, T* to) {
  constexpr int V = kWidest<T>, kVectors = AwmsTile::kChunkBytes / 16, kPitch = AwmsTile::kPitchBytes / int(sizeof(T));
  const int vector = threadIdx.x % kVectors;
  float gates[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const Index channel = first + vector * V + k;
    gates[k] = channel < row ? value_at<T>(p.a.input_gate, gate + channel, 1.0f) : 0.0f;
  }
#pragma unroll
  for (int i = threadIdx.x; i < AwmsTile::kSide * AwmsTile::kSide * kVectors; i += AwmsTile::kThreads) {
    const int position = i / kVectors, y = place.y + position / AwmsTile::kSide,
              x = place.x + position % AwmsTile::kSide;
    float values[V] = {};
    if (y < p.maps.h && x < p.maps.w && first + vector * V < row)
      load(image + (Index(y) * p.maps.w + x) * row + first + vector * V, values);
#pragma unroll
    for (int k = 0; k < V; ++k) values[k] *= gates[k];
    store(to + position * kPitch + vector * V, values);
  }
}

// The convolution's epilogue, for V neighbouring outputs of a lane.
template <class T>
struct ConvEpilogue {
  static constexpr int V = kWidest<T>;
  int channel, valid;
  bool whole;
  float bias[V], gate[V], x_scale, sums[V] = {};

  __device__ ConvEpilogue(const ConvParams& p, int image, int first) : channel(first) {
    const int outputs = int(p.maps.outputs), left = outputs - first;
    valid = left < 0 ? 0 : left < V ? left : V;
    whole = p.whole && valid == V;
    x_scale = value_at<T>(p.a.x_scale, 0, 1.0f);
    const float res_scale = value_at<T>(p.a.res_scale, 0, 1.0f);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      bias[k] = k < valid ? value_at<T>(p.a.bias, first + k, 0.0f) : 0.0f;
      gate[k] = k < valid ? res_scale * value_at<T>(p.a.gate, Index(image) * outputs + first + k, 1.0f) : 0.0f;
    }
  }

  // `from`: the sums of a position; `at`: where its outputs lie.
  __device__ __forceinline__ void operator()(const Conv& a, const float* from, Index at) {
    float values[V], other[V];
    load(from, values);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      values[k] += bias[k];
      if (a.relu) values[k] = fmaxf(values[k], 0.0f);
    }
    if (a.mask) {
      conv_load(static_cast<const T*>(a.mask) + at, whole, valid, other);
#pragma unroll
      for (int k = 0; k < V; ++k) values[k] = other[k] > 0.0f ? values[k] : 0.0f;
    }
    if (a.plain) conv_store(static_cast<T*>(a.plain) + at, whole, valid, values);
#pragma unroll
    for (int k = 0; k < V; ++k) values[k] *= gate[k];
    if (a.residual) {
      conv_load(static_cast<const T*>(a.residual) + at, whole, valid, other);
#pragma unroll
      for (int k = 0; k < V; ++k) values[k] += x_scale * other[k];
    }
#pragma unroll
    for (int k = 0; k < V; ++k) sums[k] += values[k];
    conv_store(static_cast<T*>(a.y) + at, whole, valid, values);
  }
};

// The block's sum of each of its Width outputs, of which `count` exist: over a warp's lanes, then over the warps.
template <int Width, int Warps, int V>
__device__ __forceinline__ void conv_block_sums(float (&sums)[V], int vector, int lane, int warp, float* shared,
                                                float* to, int count) {
  constexpr int kVectors = Width / V;
#pragma unroll
  for (int k = 0; k < V; ++k)
#pragma unroll
    for (int offset = kVectors; offset < 32; offset *= 2) sums[k] += __shfl_xor_sync(0xffffffffu, sums[k], offset);
  if (lane < kVectors) store(shared + warp * Width + vector, sums);
  __syncthreads();
  if (int(threadIdx.x) >= count) return;
  float total = 0;
  for (int i = 0; i < Warps; ++i) total += shared[i * Width + threadIdx.x];
  to[threadIdx.x] = total;
}

template <class T, int Arch, int Tiles, int K>
__global__ void __launch_bounds__(AwmsTile::kThreads, AwmsTile::kBlocks) conv_kernel(ConvParams p) {
  if constexpr (instance_runs_here<T, Arch>()) {
    using Sums = ConvSums<T, Arch, Tiles, K>;
    using Epilogue = ConvEpilogue<T>;
    constexpr int kRows = AwmsTile::kRows, kSide = AwmsTile::kSide;
    constexpr int kChunk = AwmsTile::kChunkBytes / int(sizeof(T)), kWidth = Tiles * 8, kPitch = kAwmsSumPitch<Tiles>;
    constexpr int kWindow = kSide + K - 1, kNextRow = kWindow * Sums::kPitch;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const AwmsPlace place(p.maps, p.grid, kWidth);
    unsigned char* const shared = dynamic_shared<unsigned char>();
    const T* const rows = reinterpret_cast<const T*>(shared) + warp * kRows * kNextRow;
    const Index chunks = p.chunks[0] + p.chunks[1] + p.chunks[2] + p.chunks[3];
    const T* weight = static_cast<const T*>(p.a.weight) + place.first / kWidth * chunks * (K * K * Sums::kStep);
    Index gate = place.image * p.maps.inputs;

    Sums sums;
    bool again = false;
#pragma unroll
    for (int map = 0; map < kConvMostMaps; ++map) {
      const Index row = p.a.inputs[map].channels;
      const T* const image = static_cast<const T*>(p.a.inputs[map].x) + place.image * p.maps.h * p.maps.w * row;
#pragma unroll 1
      for (int chunk = 0; chunk < p.chunks[map]; ++chunk, weight += K * K * Sums::kStep) {
        if (again) __syncthreads();
        again = true;
        if (K == 1 && p.a.input_gate.at)
          conv_load_gated(p, place, image, row, Index(chunk) * kChunk, gate, reinterpret_cast<T*>(shared));
        else
          awms_load_window<AwmsTile::kChunkBytes / 16, AwmsTile::kPitchBytes>(
              p.maps, image, row, Index(chunk) * kChunk, place.y - K / 2, place.x - K / 2, kWindow, p.side, shared);
        __syncthreads();
#pragma unroll 1
        for (int across = 0; across < K; ++across)
          sums.add_column(rows + across * Sums::kPitch, kNextRow, weight + across * Sums::kStep, lane);
      }
      gate += row;
    }
    __syncthreads();

    float* const mine = reinterpret_cast<float*>(shared) + warp * kSide * kPitch;
    constexpr int kVectors = kWidth / Epilogue::V, kStep = 32 / kVectors;
    const int vector = lane % kVectors * Epilogue::V, positions = place.positions(p.maps);
    Epilogue epilogue(p, place.image, place.first + vector);
#pragma unroll 1
    for (int row = 0; row < kRows; ++row) {
      const Index y = place.y + warp * kRows + row;
      if (y >= p.maps.h) break;
      if (row) __syncwarp();
      if (row == 0)
        sums.put(0, mine, lane);
      else
        sums.put(1, mine, lane);
      __syncwarp();
      const Index line = (place.image * p.maps.h + y) * p.maps.w + place.x;
      if (epilogue.valid)
        for (int i = lane / kVectors; i < positions; i += kStep)
          epilogue(p.a, mine + i * kPitch + vector, (line + i) * p.maps.outputs + epilogue.channel);
    }
    if (!p.a.mean) return;

    __syncthreads();
    const Index part = blockIdx.x / p.grid.outputs;
    conv_block_sums<kWidth, AwmsTile::kWarps>(epilogue.sums, vector, lane, warp, reinterpret_cast<float*>(shared),
                                              p.a.workspace + part * p.maps.outputs + place.first, place.count);
  }
}

struct ConvMeanTile {
  static constexpr int kThreads = 256, kBlocks = 4, kWarps = kThreads / 32;
};

// The means of 32 outputs of an image: eight warps, each every eighth block of positions, then the warps in order.
template <class T>
__global__ void __launch_bounds__(ConvMeanTile::kThreads, ConvMeanTile::kBlocks) conv_mean_kernel(ConvParams p) {
  constexpr int kWarps = ConvMeanTile::kWarps;
  const Index outputs = p.maps.outputs, groups = ceil_div(outputs, 32);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Index image = blockIdx.x / groups, channel = blockIdx.x % groups * 32 + lane;
  float* const shared = dynamic_shared<float>();
  float sum = 0;
  if (channel < outputs)
    for (Index part = warp; part < p.parts; part += kWarps)
      sum += p.a.workspace[(image * p.parts + part) * outputs + channel];
  shared[warp * 32 + lane] = sum;
  __syncthreads();
  if (warp || channel >= outputs) return;
  float total = 0;
  for (int i = 0; i < kWarps; ++i) total += shared[i * 32 + lane];
  static_cast<T*>(p.a.mean)[image * outputs + channel] = from_float<T>(total / (float(p.maps.h) * float(p.maps.w)));
}

}  // namespace awsrn_fast
