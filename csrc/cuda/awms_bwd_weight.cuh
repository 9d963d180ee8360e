// The weight's gradient: for every tap the product of the output's gradient, transposed, and x moved by the tap, over
// all positions. A block takes one row of taps, a warp each, and a fixed share of the positions; a second kernel adds
// the shares in order, so that the result does not depend on who comes first.
#pragma once

#include "common/tiles.h"
#include "cuda/awms.cuh"

namespace awsrn_fast {

struct AwmsWeightTile {
  static constexpr int kMostThreads = 32 * kAwmsMostTaps;
  static constexpr int kBlocks = 2;  // on an SM of compute capability 7.5: 64 KB, and 112 registers a thread
  static constexpr int kAcross = 16;
  static constexpr int kInputs = 32;
  static constexpr int kMostTiles = 3;  // of 16 outputs
  // Shares of the positions. With 9 rows of taps they are two waves of an RTX 2080 Ti's 68 SMs, of two blocks each.
  static constexpr int kMostShares = 30;
  static constexpr int kSumThreads = 256;
  static constexpr int kSumBlocks = 4;
};

// Positions of a tile, down: what two blocks' shared memory holds.
template <class T>
constexpr int kAwmsWeightDown = 16 / int(sizeof(T));
template <>
inline constexpr int kAwmsWeightDown<float> = 4;

constexpr int awms_weight_tiles(Index outputs) {
  const Index tiles = ceil_div(outputs, 16), blocks = ceil_div(tiles, AwmsWeightTile::kMostTiles);
  return int(ceil_div(tiles, blocks > 0 ? blocks : 1));
}

// How positions, outputs and inputs are shared out; it depends on the sizes alone.
struct AwmsWeightCut {
  Index down, across;  // tiles of a map
  Index tiles, share, shares;  // all tiles, those of a share, and shares
  Index outputs, inputs;  // blocks of channels
  Index wide_outputs, wide_inputs;  // channels with those that fill the blocks
};

constexpr AwmsWeightCut awms_weight_cut(const AwmsMaps& maps, int tile_down) {
  AwmsWeightCut cut{};
  cut.down = ceil_div(maps.h, tile_down);
  cut.across = ceil_div(maps.w, AwmsWeightTile::kAcross);
  cut.tiles = maps.n * cut.down * cut.across;
  cut.share = ceil_div(cut.tiles, AwmsWeightTile::kMostShares);
  cut.shares = cut.share ? ceil_div(cut.tiles, cut.share) : 0;
  const int width = 16 * awms_weight_tiles(maps.outputs);
  cut.outputs = ceil_div(maps.outputs, width);
  cut.inputs = ceil_div(maps.inputs, AwmsWeightTile::kInputs);
  cut.wide_outputs = cut.outputs * width;
  cut.wide_inputs = cut.inputs * AwmsWeightTile::kInputs;
  return cut;
}

struct AwmsBwdWeightParams {
  AwmsBwdWeight a;
  AwmsWeightCut cut;
  AwmsDivisor margin_across;
};

// Elements between positions in shared memory, an odd multiple of 16 bytes: rows of an ldmatrix fall on different
// banks.
template <class T>
constexpr int awms_weight_pitch(int channels) {
  return channels + kWidest<T>;
}

template <class T, int Tiles>
constexpr int awms_weight_shared_bytes(int k) {
  constexpr int kDown = kAwmsWeightDown<T>, kAcross = AwmsWeightTile::kAcross;
  const int grad = kDown * kAcross * awms_weight_pitch<T>(Tiles * 16);
  const int x = kDown * (kAcross + k - 1) * awms_weight_pitch<T>(AwmsWeightTile::kInputs);
  return (grad + x) * int(sizeof(T));
}

// The sums of one warp and tap: Tiles * 16 outputs, 32 inputs.
template <class T, int Arch, int Tiles>
struct AwmsWeightSums {
  static constexpr int kGradPitch = awms_weight_pitch<T>(Tiles * 16);
  static constexpr int kPitch = awms_weight_pitch<T>(AwmsWeightTile::kInputs);
  static constexpr int kInputTiles = AwmsWeightTile::kInputs / 8;
  float d[Tiles][kInputTiles][4] = {};

  // 16 positions.
  __device__ __forceinline__ void add(const T* grad, const T* x, int lane) {
    std::uint32_t a[Tiles][4], b[kInputTiles][2];
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
      ldmatrix_x4_trans(a[tile], grad + (lane / 16 * 8 + lane % 8) * kGradPitch + tile * 16 + lane / 8 % 2 * 8);
#pragma unroll
    for (int pair = 0; pair < kInputTiles / 2; ++pair) {
      std::uint32_t words[4];
      ldmatrix_x4_trans(words, x + lane % 16 * kPitch + pair * 16 + lane / 16 * 8);
#pragma unroll
      for (int i = 0; i < 4; ++i) b[2 * pair + i / 2][i % 2] = words[i];
    }
    mma_depth_16<T, Arch>(d, a, b);
  }

  // Outputs of `to` lie `row` inputs apart.
  __device__ __forceinline__ void put(float* to, Index row, int lane) const {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
      for (int i = 0; i < kInputTiles; ++i) {
        const float upper[] = {d[tile][i][0], d[tile][i][1]}, lower[] = {d[tile][i][2], d[tile][i][3]};
        float* const at = to + (tile * 16 + lane / 4) * row + i * 8 + lane % 4 * 2;
        store(at, upper);
        store(at + 8 * row, lower);
      }
  }
};

// A lane has two outputs of each tile, and 4 inputs of each half.
template <int Arch, int Tiles>
struct AwmsWeightSums<float, Arch, Tiles> {
  static constexpr int kGradPitch = awms_weight_pitch<float>(Tiles * 16);
  static constexpr int kPitch = awms_weight_pitch<float>(AwmsWeightTile::kInputs);
  float d[Tiles][2][2][4] = {};

  __device__ __forceinline__ void add(const float* grad, const float* x, int lane) {
#pragma unroll 4
    for (int position = 0; position < AwmsWeightTile::kAcross; ++position) {
      float of_x[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) load(x + position * kPitch + half * 16 + lane / 8 * 4, of_x[half]);
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) {
        float of_grad[2];
        load(grad + position * kGradPitch + tile * 16 + lane % 8 * 2, of_grad);
#pragma unroll
        for (int o = 0; o < 2; ++o)
#pragma unroll
          for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int i = 0; i < 4; ++i) d[tile][o][half][i] += of_grad[o] * of_x[half][i];
      }
    }
  }

  __device__ __forceinline__ void put(float* to, Index row, int lane) const {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
      for (int o = 0; o < 2; ++o)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          store(to + (tile * 16 + lane % 8 * 2 + o) * row + half * 16 + lane / 8 * 4, d[tile][o][half]);
  }
};

template <class T, int Arch, int Tiles>
__global__ void __launch_bounds__(AwmsWeightTile::kMostThreads, AwmsWeightTile::kBlocks)
    awms_bwd_weight_kernel(AwmsBwdWeightParams p) {
  if constexpr (instance_runs_here<T, Arch>()) {
    using Sums = AwmsWeightSums<T, Arch, Tiles>;
    constexpr int kDown = kAwmsWeightDown<T>, kAcross = AwmsWeightTile::kAcross, kInputs = AwmsWeightTile::kInputs;
    const AwmsMaps& maps = p.a.maps;
    const AwmsWeightCut& cut = p.cut;
    const int lane = threadIdx.x % 32, column = threadIdx.x / 32, k = maps.k;
    // Blocks side by side share their positions. A grid's limit keeps all of these small.
    unsigned rest = blockIdx.x;
    const int row = int(rest % k);
    rest /= k;
    const int output = int(rest % unsigned(cut.outputs)) * (Tiles * 16);
    rest /= unsigned(cut.outputs);
    const int input = int(rest % unsigned(cut.inputs)) * kInputs, share = int(rest / unsigned(cut.inputs));
    const Index first = share * cut.share, tiles = cut.tiles - first;
    Index left = tiles < cut.share ? tiles : cut.share;
    int tile_x = int(first % cut.across) * kAcross, tile_y = int(first / cut.across % cut.down) * kDown;
    Index image = first / cut.across / cut.down;

    T* const grad = dynamic_shared<T>();
    T* const x = grad + kDown * kAcross * Sums::kGradPitch;
    constexpr AwmsDivisor grad_across(kAcross);
    Sums sums;
    for (;;) {
      const Index corner = image * maps.h * maps.w;
      awms_load_window<Tiles * 16 / kWidest<T>, Sums::kGradPitch* int(sizeof(T))>(
          maps, static_cast<const T*>(p.a.grad) + corner * p.a.grad_row, p.a.grad_row, output, tile_y, tile_x, kDown,
          grad_across, grad);
      awms_load_window<kInputs / kWidest<T>, Sums::kPitch* int(sizeof(T))>(
          maps, static_cast<const T*>(p.a.x) + corner * p.a.row, p.a.row, input, tile_y + row - k / 2, tile_x - k / 2,
          kDown, p.margin_across, x);
      __syncthreads();
      for (int down = 0; down < kDown; ++down)
        sums.add(grad + down * kAcross * Sums::kGradPitch, x + (down * p.margin_across.divisor + column) * Sums::kPitch,
                 lane);
      if (--left == 0) break;
      __syncthreads();
      tile_x += kAcross;
      if (tile_x < maps.w) continue;
      tile_x = 0, tile_y += kDown;
      if (tile_y < maps.h) continue;
      tile_y = 0, ++image;
    }
    const Index tap = (share * k + row) * k + column;
    sums.put(p.a.workspace + (tap * cut.wide_outputs + output) * cut.wide_inputs + input, cut.wide_inputs, lane);
  }
}

// One output and 32 inputs a block: a lane an input, a warp every eighth tap.
template <class T>
__global__ void __launch_bounds__(AwmsWeightTile::kSumThreads, AwmsWeightTile::kSumBlocks)
    awms_bwd_weight_sum_kernel(AwmsBwdWeightParams p) {
  constexpr int kInputs = AwmsWeightTile::kInputs, kThreads = AwmsWeightTile::kSumThreads;
  const AwmsWeightCut& cut = p.cut;
  const AwmsMaps& maps = p.a.maps;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, taps = maps.k * maps.k;
  const Index output = blockIdx.x / cut.inputs, input = blockIdx.x % cut.inputs * kInputs;
  const Index inputs = maps.inputs - input < kInputs ? maps.inputs - input : kInputs;
  const Index share = taps * cut.wide_outputs * cut.wide_inputs;
  float* const sums = dynamic_shared<float>();  // [32][taps], taps odd: a warp's lanes write to different banks
  for (int tap = warp; tap < taps; tap += kThreads / 32) {
    const float* at = p.a.workspace + (tap * cut.wide_outputs + output) * cut.wide_inputs + input + lane;
    float sum = 0;
#pragma unroll 4
    for (Index i = 0; i < cut.shares; ++i, at += share) sum += *at;
    sums[lane * taps + tap] = sum;
  }
  __syncthreads();
  T* const to = static_cast<T*>(p.a.grad_weight) + (output * maps.inputs + input) * taps;
  for (int i = threadIdx.x; i < inputs * taps; i += kThreads) to[i] = from_float<T>(sums[i]);
}

}  // namespace awsrn_fast
