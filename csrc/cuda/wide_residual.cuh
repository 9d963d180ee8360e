// A block has 12 x 16 outputs. x with a margin of two lies in shared memory; the wide map, 14 x 18 positions, never
// leaves the SM: 32 of its channels at a time are computed into registers, go through shared memory by sixteens, and
// are multiplied there by their part of the second weight. Positions are 64 bytes of x and 32 of the wide map, whose
// 16-byte pieces are permuted by the position, so that the rows of an ldmatrix fall on different banks.
#pragma once

#include "cuda/conv.cuh"
#include "cuda/wide_residual.h"

namespace awsrn_fast {

struct WideResidualTile {
  static constexpr int kThreads = 128, kWarps = kThreads / 32;
  static constexpr int kBlocks = 2;  // on an SM of compute capability 7.5: 255 registers a thread, and its 64 KB
  static constexpr int kDown = 12, kAcross = 16;
  static constexpr int kWideDown = kDown + 2, kWideAcross = kAcross + 2;
  static constexpr int kWidePositions = kWideDown * kWideAcross;  // 252 of four times four tiles of 16
  static constexpr int kXDown = kDown + 4, kXAcross = kAcross + 4;
  static constexpr int kXBytes = kXDown * kXAcross * 64, kXRowBytes = kXAcross * 64;
  static constexpr int kRows = kDown / kWarps;  // of outputs, a warp
  static constexpr int kGroups = kWideResidualWide / 32;
  static constexpr int kTapStep = 64;  // of a packed weight, in uint4
  static constexpr int kSumBytes = kWarps * kAcross * kAwmsSumPitch<4> * int(sizeof(float));
  static constexpr int kWideBytes = 256 * 32 > kSumBytes ? 256 * 32 : kSumBytes;
  static constexpr int kSharedBytes = kXBytes + kWideBytes;
};

struct WideResidualParams {
  ConvParams second;
  const void* w1;
  Values b1;
  int down, across;  // blocks
};

// The bytes of piece 0 (of a pair, by lane) of a position in shared memory.
__device__ __forceinline__ int wide_residual_x(int position, int piece) {
  return position * 64 + (piece ^ (position / 2 % 4)) * 16;
}
__device__ __forceinline__ int wide_residual_wide(int position, int piece) {
  return position * 32 + (piece ^ (position / 4 % 2)) * 16;
}

// D += A B over a depth of 16 for 32 columns, with B as packed: two uint4 a lane.
template <class T, int Arch>
__device__ __forceinline__ void wide_residual_product(float (&d)[4][4], const std::uint32_t (&a)[4], const uint4& first,
                                                      const uint4& second) {
  const std::uint32_t b[4][2] = {{first.x, first.y}, {first.z, first.w}, {second.x, second.y}, {second.z, second.w}};
  mma_depth_16<T, Arch>(reinterpret_cast<float (&)[1][4][4]>(d), reinterpret_cast<const std::uint32_t (&)[1][4]>(a), b);
}

template <class T>
__device__ __forceinline__ void wide_residual_load_x(const WideResidualParams& p, const T* x, int tile_y, int tile_x,
                                                     unsigned char* shared) {
  using Tile = WideResidualTile;
  constexpr int kSteps = Tile::kXDown * Tile::kXAcross * 4 / Tile::kThreads;
  static_assert(kSteps * Tile::kThreads == Tile::kXDown * Tile::kXAcross * 4);
  uint4 words[kSteps];
  // All loads first: they are under way together.
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int at = threadIdx.x + i * Tile::kThreads, position = at / 4;
    const int y = tile_y - 2 + position / Tile::kXAcross, column = tile_x - 2 + position % Tile::kXAcross;
    words[i] = make_uint4(0, 0, 0, 0);
    if (y >= 0 && y < p.second.maps.h && column >= 0 && column < p.second.maps.w)
      words[i] = *reinterpret_cast<const uint4*>(x + (Index(y) * p.second.maps.w + column) * 32 + at % 4 * 8);
  }
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int at = threadIdx.x + i * Tile::kThreads;
    *reinterpret_cast<uint4*>(shared + wide_residual_x(at / 4, at % 4)) = words[i];
  }
}

template <class T, int Arch>
__global__ void __launch_bounds__(WideResidualTile::kThreads, WideResidualTile::kBlocks)
    wide_residual_fwd_kernel(WideResidualParams p) {
  if constexpr (instance_runs_here<T, Arch>()) {
    using Tile = WideResidualTile;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const AwmsMaps& maps = p.second.maps;
    const int tile_x = int(blockIdx.x % unsigned(p.across)) * Tile::kAcross;
    const int tile_y = int(blockIdx.x / unsigned(p.across) % unsigned(p.down)) * Tile::kDown;
    const int image = int(blockIdx.x / unsigned(p.across) / unsigned(p.down));
    unsigned char* const shared = dynamic_shared<unsigned char>();
    unsigned char* const wide = shared + Tile::kXBytes;
    wide_residual_load_x(p, static_cast<const T*>(p.second.a.inputs[0].x) + image * maps.h * maps.w * 32, tile_y,
                         tile_x, shared);
    __syncthreads();

    // Where this lane's row of each of its warp's four tiles of 16 wide positions lies in x, for the left tap.
    int from[4];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      int q = (warp * 4 + t) * 16 + lane % 16;
      q = q < Tile::kWidePositions ? q : Tile::kWidePositions - 1;
      from[t] = q / Tile::kWideAcross * Tile::kXAcross + q % Tile::kWideAcross;
    }
    float out[Tile::kRows][4][4] = {};
    const uint4* const w1 = static_cast<const uint4*>(p.w1) + lane;
    const uint4* w2 = static_cast<const uint4*>(p.second.a.weight) + lane;
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
      // Two chunks of 16 channels of x, nine taps each, of 32 wide channels.
      const uint4* const weights = w1 + group * (2 * 9 * Tile::kTapStep);
      std::uint32_t kept[4][2][2];
      {
        float sums[4][4][4] = {};
        uint4 next[2] = {weights[0], weights[32]};
#pragma unroll 1
        for (int dx = 0; dx < 3; ++dx) {
          int address[4];
#pragma unroll
          for (int t = 0; t < 4; ++t) address[t] = wide_residual_x(from[t] + dx, lane / 16);
          const uint4* const column = weights + dx * Tile::kTapStep;
#pragma unroll
          for (int step = 0; step < 6; ++step) {
            const int dy = step / 2, chunk = step % 2;
            const uint4 b[2] = {next[0], next[1]};
            if (step < 5 || dx < 2) {
              const uint4* const at = step < 5 ? column + ((step + 1) % 2 * 9 + (step + 1) / 2 * 3) * Tile::kTapStep
                                               : column + Tile::kTapStep;
              next[0] = at[0], next[1] = at[32];
            }
            std::uint32_t a[4][4];
            // A row down is 10 pairs of positions further, which turns over the second bit of an odd row's piece.
#pragma unroll
            for (int t = 0; t < 4; ++t)
              ldmatrix_x4(a[t], shared + (address[t] ^ ((chunk ^ (dy & 1)) * 32)) + dy * Tile::kXRowBytes);
#pragma unroll
            for (int t = 0; t < 4; ++t) wide_residual_product<T, Arch>(sums[t], a[t], b[0], b[1]);
          }
        }
        float bias[4][2];
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) bias[n][i] = value_at<T>(p.b1, group * 32 + n * 8 + lane % 4 * 2 + i, 0.0f);
        __syncthreads();  // all have read the sixteen channels before
#pragma unroll
        for (int t = 0; t < 4; ++t)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int q = (warp * 4 + t) * 16 + lane / 4 + 8 * r;
            const int y = tile_y - 1 + q / Tile::kWideAcross, column = tile_x - 1 + q % Tile::kWideAcross;
            const bool inside = y >= 0 && y < maps.h && column >= 0 && column < maps.w;
#pragma unroll
            for (int n = 0; n < 4; ++n) {
              const float first = fmaxf(sums[t][n][2 * r] + bias[n][0], 0.0f);
              const float second = fmaxf(sums[t][n][2 * r + 1] + bias[n][1], 0.0f);
              const std::uint32_t word = inside ? pack<T>(first, second) : 0;
              if (n < 2)
                *reinterpret_cast<std::uint32_t*>(wide + wide_residual_wide(q, n) + lane % 4 * 4) = word;
              else
                kept[t][n - 2][r] = word;
            }
          }
      }
      __syncthreads();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (half) {
          __syncthreads();
#pragma unroll
          for (int t = 0; t < 4; ++t)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const int q = (warp * 4 + t) * 16 + lane / 4 + 8 * r;
#pragma unroll
              for (int n = 0; n < 2; ++n)
                *reinterpret_cast<std::uint32_t*>(wide + wide_residual_wide(q, n) + lane % 4 * 4) = kept[t][n][r];
            }
          __syncthreads();
        }
#pragma unroll 1
        for (int dx = 0; dx < 3; ++dx) {
          uint4 b[3][2];
#pragma unroll
          for (int dy = 0; dy < 3; ++dy) {
            const uint4* const at = w2 + (dy * 3 + dx) * Tile::kTapStep;
            b[dy][0] = at[0], b[dy][1] = at[32];
          }
          std::uint32_t a[Tile::kRows + 2][4];
#pragma unroll
          for (int row = 0; row < Tile::kRows + 2; ++row) {
            const int q = (warp * Tile::kRows + row) * Tile::kWideAcross + dx + lane % 16;
            ldmatrix_x4(a[row], wide + wide_residual_wide(q, lane / 16));
          }
#pragma unroll
          for (int dy = 0; dy < 3; ++dy)
#pragma unroll
            for (int row = 0; row < Tile::kRows; ++row)
              wide_residual_product<T, Arch>(out[row], a[row + dy], b[dy][0], b[dy][1]);
        }
        w2 += 9 * Tile::kTapStep;
      }
    }
    __syncthreads();

    constexpr int kPitch = kAwmsSumPitch<4>, kVectors = 32 / ConvEpilogue<T>::V, kStep = 32 / kVectors;
    float* const sums = reinterpret_cast<float*>(wide) + warp * Tile::kAcross * kPitch;
    const int vector = lane % kVectors * ConvEpilogue<T>::V;
    const int positions = int(maps.w - tile_x < Tile::kAcross ? maps.w - tile_x : Tile::kAcross);
    ConvEpilogue<T> epilogue(p.second, image, vector);
#pragma unroll
    for (int row = 0; row < Tile::kRows; ++row) {
      const Index y = tile_y + warp * Tile::kRows + row;
      if (y >= maps.h) break;
      if (row) __syncwarp();
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float pair[] = {out[row][n][2 * r], out[row][n][2 * r + 1]};
          store(sums + (lane / 4 + 8 * r) * kPitch + n * 8 + lane % 4 * 2, pair);
        }
      __syncwarp();
      const Index line = (image * maps.h + y) * maps.w + tile_x;
      for (int i = lane / kVectors; i < positions; i += kStep)
        epilogue(p.second.a, sums + i * kPitch + vector, (line + i) * 32 + vector);
    }
    if (!p.second.a.mean) return;
    __syncthreads();
    conv_block_sums<32, Tile::kWarps>(epilogue.sums, vector, lane, warp, reinterpret_cast<float*>(wide),
                                      p.second.a.workspace + Index(blockIdx.x) * 32, 32);
  }
}

}  // namespace awsrn_fast
