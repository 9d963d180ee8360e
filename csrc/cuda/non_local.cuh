// Flash attention (arXiv:2205.14135) with one head, no scale and D as it is: no score leaves the SM. A block of four
// warps has 64 rows of its own, 16 a warp, and iterates over all other rows, a step at a time; the next step's
// rows are on their way from memory while one is computed. Exponentials overlap with products in each warp (those of
// one piece with the product of the piece before) and between warps.
//
// Backward computes the scores again, once for the gradients of the queries and once for those of keys and values:
// seven products instead of five, but every sum has one owner, so that nothing is added by atomics and no partial
// gradients of queries lie in memory.
#pragma once

#include <type_traits>

#include "cuda/architecture.h"
#include "cuda/mma.cuh"
#include "cuda/non_local_blocks.cuh"

namespace awsrn_fast {

// Sizes of steps and of shared memory, the same on all architectures; how many blocks of them an SM holds is not.
struct NonLocalTile {
  static constexpr int kRows = kNonLocalTileRows, kThreads = 128, kRowsOfWarp = 16;
  static constexpr int kStepBytes = 4 * 1024;  // two 16-byte loads a thread, held in registers

  int step;  // rows met at a time: keys with values, or queries with gradients
  int piece;  // of a step, whose scores are in registers in backward
  int pad;  // values behind a row of two vectors, to make its bytes an odd multiple of 16
  int pair_stride, query_stride;
  int fwd_bytes, bwd_bytes, fwd_blocks, bwd_blocks;  // shared memory, and blocks on an SM
};

// By the instance's architecture: 75, or 80 for all from there on.
constexpr NonLocalTile non_local_tile(int arch, int value_bytes, int d) {
  NonLocalTile tile{};
  const int row_bytes = 2 * d * value_bytes;
  const int even = NonLocalTile::kStepBytes / row_bytes, least = value_bytes == 4 ? 8 : 32;  // ldmatrix has 32 rows
  tile.step = even < least ? least : even < 64 ? even : 64;
  tile.piece = tile.step < 32 ? tile.step : 32;
  tile.pad = 16 / value_bytes;
  tile.pair_stride = 2 * d + tile.pad;
  tile.query_stride = row_bytes / 32 % 2 ? d : d + tile.pad;
  const int steps = 2 * tile.step * tile.pair_stride;
  tile.fwd_bytes = (NonLocalTile::kRows * tile.query_stride + steps) * value_bytes;
  tile.bwd_bytes = (NonLocalTile::kRows * tile.pair_stride + steps) * value_bytes + 2 * 3 * tile.step * 4;
  // What more would leave a thread in registers, 128 and 168, is too few for D = 64.
  const int most_fwd = d == 64 ? 2 : 4, most_bwd = d == 64 ? 2 : 3;
  const Architecture sm = architecture_of_instance(arch);
  const int fwd_fit = blocks_that_fit(sm, NonLocalTile::kThreads, 0, tile.fwd_bytes);
  const int bwd_fit = blocks_that_fit(sm, NonLocalTile::kThreads, 0, tile.bwd_bytes);
  tile.fwd_blocks = fwd_fit < most_fwd ? fwd_fit : most_fwd;
  tile.bwd_blocks = bwd_fit < most_bwd ? bwd_fit : most_bwd;
  return tile;
}

template <class T, int Arch, int D>
constexpr NonLocalTile kNonLocalTile = non_local_tile(Arch, int(sizeof(T)), D);

template <class Pointers>
struct NonLocalParams {
  Pointers a;
  NonLocalGrid grid;
};

// exp(score - largest). In fp32 the score that is the largest gives 1, so that what is 0 in backward comes out as 0; in
// half precision the difference and the change of base are one FMA.
constexpr float kLog2E = 1.44269504088896341f;
template <class T>
__device__ __forceinline__ float non_local_shift(float largest) {
  return std::is_same<T, float>::value ? largest : largest * kLog2E;
}
template <class T>
__device__ __forceinline__ float non_local_power(float score, float shift) {
  return exp2_fast(std::is_same<T, float>::value ? (score - shift) * kLog2E : __fmaf_rn(score, kLog2E, -shift));
}

// Where one thread finds its 16 bytes of each row: rows lie `pitch` values apart.
template <class T>
struct NonLocalSource {
  const T* from;
  Index pitch;

  __device__ __forceinline__ uint4 at(Index position) const {
    return *reinterpret_cast<const uint4*>(from + position * pitch);
  }
};

// The thread's part of [k | v], of [q | gradient] and of [q]; `piece` counts 16 bytes.
template <class T, int D>
__device__ __forceinline__ NonLocalSource<T> non_local_keys_source(const void* qkv, int piece) {
  return {static_cast<const T*>(qkv) + D + piece * kWidest<T>, 3 * D};
}
template <class T, int D>
__device__ __forceinline__ NonLocalSource<T> non_local_queries_source(const void* qkv, const void* grad, int piece) {
  constexpr int kPieces = D / kWidest<T>;
  if (piece < kPieces) return {static_cast<const T*>(qkv) + piece * kWidest<T>, 3 * D};
  return {static_cast<const T*>(grad) + (piece - kPieces) * kWidest<T>, D};
}

// Copies the block's own rows to shared memory; rows behind the rectangle's end become zero.
template <class T, int Pieces>
__device__ __forceinline__ void non_local_copy(const NonLocalRectangle& of, int first, const NonLocalSource<T>& source,
                                               T* rows, int stride) {
  const int thread = threadIdx.x, piece = thread % Pieces;
  constexpr int kAtOnce = NonLocalTile::kThreads / Pieces;
  NonLocalWalk walk(of, first + thread / Pieces, kAtOnce);
  for (int row = thread / Pieces; row < NonLocalTile::kRows; row += kAtOnce, walk.next()) {
    const uint4 values = walk.inside() ? source.at(walk.position()) : make_uint4(0, 0, 0, 0);
    *reinterpret_cast<uint4*>(rows + row * stride + piece * kWidest<T>) = values;
  }
}

// The other rows: a step of them is fetched into registers, and put into shared memory when there is room.
template <class T, int Arch, int D>
class NonLocalSteps {
 public:
  static constexpr NonLocalTile kSizes = kNonLocalTile<T, Arch, D>;
  static constexpr int kPieces = 2 * D / kWidest<T>, kAtOnce = NonLocalTile::kThreads / kPieces;
  static constexpr int kPasses = kSizes.step / kAtOnce;

  static __device__ int piece() { return threadIdx.x % kPieces; }

  __device__ NonLocalSteps(const NonLocalRectangle& of, const NonLocalSource<T>& source)
      : source_(source), walk_(of, threadIdx.x / kPieces, kAtOnce) {}

  __device__ __forceinline__ void fetch() {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass, walk_.next())
      held_[pass] = walk_.inside() ? source_.at(walk_.position()) : make_uint4(0, 0, 0, 0);
  }
  __device__ __forceinline__ void put(T* rows) const {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int row = threadIdx.x / kPieces + pass * kAtOnce;
      *reinterpret_cast<uint4*>(rows + row * kSizes.pair_stride + piece() * kWidest<T>) = held_[pass];
    }
  }

 private:
  NonLocalSource<T> source_;
  NonLocalWalk walk_;
  uint4 held_[kPasses];
};

// scores[16 x Columns] = a warp's rows times the other rows, over D values of each.
template <class T, int Arch, int D, int Columns>
__device__ __forceinline__ void non_local_scores(float (&scores)[Columns / 8][4], const T* rows, int stride,
                                                 const T* met, int met_stride, int lane) {
  using M = std::conditional_t<D == 8 && !std::is_same<T, float>::value, Mma8<T>, Mma<T, Arch>>;
#pragma unroll
  for (int g = 0; g < Columns / 8; ++g)
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[g][i] = 0;
#pragma unroll
  for (int depth = 0; depth < D; depth += M::kDepth) {
    typename M::A a;
    M::load_a(a, rows + depth, stride, lane);
#pragma unroll
    for (int g = 0; g < Columns / 8; g += M::kFragments) {
      typename M::B b[M::kFragments];
      M::load_b_columns(b, met + g * 8 * met_stride + depth, met_stride, lane);
#pragma unroll
      for (int f = 0; f < M::kFragments; ++f) M::product(scores[g + f], a, b[f]);
    }
  }
}

// sums[16 x D] += factors[16 x Columns] times the other rows. In fp32 the columns are added up by themselves first, so
// that the rounding errors of thousands of rows do not pile up.
template <class T, int Arch, int D, int Columns>
__device__ __forceinline__ void non_local_accumulate(float (&sums)[D / 8][4], const float (*factors)[4], const T* met,
                                                     int met_stride, int lane) {
  using M = Mma<T, Arch>;
  constexpr bool kTwoLevels = std::is_same<T, float>::value;
  float of_columns[D / 8][4] = {};
  float (&to)[D / 8][4] = kTwoLevels ? of_columns : sums;
#pragma unroll
  for (int first = 0; first < Columns; first += M::kFragments * M::kDepth) {
    typename M::A a[M::kFragments];
#pragma unroll
    for (int f = 0; f < M::kFragments; ++f) M::from_products(a[f], factors + first / 8 + f * M::kDepth / 8, lane);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      typename M::B b[M::kFragments];
      M::load_b_depths(b, met + first * met_stride + n * 8, met_stride, lane);
#pragma unroll
      for (int f = 0; f < M::kFragments; ++f) M::product(to[n], a[f], b[f]);
    }
  }
  if constexpr (kTwoLevels) {
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] += of_columns[n][i];
  }
}

// A warp's sums to its rows of shared memory, each row times its factor.
template <class T, int D>
__device__ __forceinline__ void non_local_put(const float (&sums)[D / 8][4], float upper, float lower, T* rows,
                                              int stride, int lane) {
  T* row = rows + lane / 4 * stride + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    const float above[] = {sums[n][0] * upper, sums[n][1] * upper}, below[] = {sums[n][2] * lower, sums[n][3] * lower};
    store(row + n * 8, above);
    store(row + 8 * stride + n * 8, below);
  }
}

// A warp's rows from shared memory to their positions in a map, `pitch` values apart.
template <class T, int Values>
__device__ __forceinline__ void non_local_store(const NonLocalRectangle& of, int first, const T* rows, int stride,
                                                T* map, Index pitch, int lane) {
  constexpr int kPieces = Values / kWidest<T>;
  for (int i = lane; i < NonLocalTile::kRowsOfWarp * kPieces; i += 32) {
    const int row = i / kPieces, at = i % kPieces * kWidest<T>;
    if (first + row >= of.size()) continue;
    *reinterpret_cast<uint4*>(map + of.position(first + row) * pitch + at) =
        *reinterpret_cast<const uint4*>(rows + row * stride + at);
  }
}

// Over the four lanes that share rows of a product.
__device__ __forceinline__ float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}
__device__ __forceinline__ float quad_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

// y = x + w_z attended + b_z for a warp's 16 queries, kGroup channels at a time. The weight's rows lie in shared memory
// in an order that gives each lane neighbouring channels, 16 bytes of each position.
template <class T, int Arch, int D>
__device__ __forceinline__ void non_local_project(const NonLocalFwd& a, const NonLocalRectangle& of, int first,
                                                  const float (&attended)[D / 8][4], T* weights, int lane) {
  using M = std::conditional_t<D == 8 && !std::is_same<T, float>::value, Mma8<T>, Mma<T, Arch>>;
  constexpr int kVector = kWidest<T>, kGroup = 4 * kVector, kProducts = kGroup / 8, kPieces = D / kVector;
  constexpr int kStride = kNonLocalTile<T, Arch, D>.query_stride;
  static_assert(kGroup * kStride <= 2 * kNonLocalTile<T, Arch, D>.step * kNonLocalTile<T, Arch, D>.pair_stride);
  for (int group = 0; group < a.c; group += kGroup) {
    if (group) __syncthreads();
    for (int i = threadIdx.x; i < kGroup * kPieces; i += NonLocalTile::kThreads) {
      // Row n of product g holds channel n / 2 of the lanes, and of its vector the values 2 g + n % 2.
      const int row = i / kPieces, at = i % kPieces * kVector, n = row % 8;
      const Index channel = group + n / 2 * kVector + row / 8 * 2 + n % 2;
      const uint4 values = channel < a.c
                               ? *reinterpret_cast<const uint4*>(static_cast<const T*>(a.w_z) + channel * D + at)
                               : make_uint4(0, 0, 0, 0);
      *reinterpret_cast<uint4*>(weights + row * kStride + at) = values;
    }
    __syncthreads();
    float z[kProducts][4] = {};
#pragma unroll
    for (int depth = 0; depth < D; depth += M::kDepth) {
      typename M::A factors;
      M::from_products(factors, attended + depth / 8, lane);
#pragma unroll
      for (int g = 0; g < kProducts; ++g) {
        typename M::B b;
        M::load_b(b, weights + g * 8 * kStride + depth, kStride, lane);
        M::product(z[g], factors, b);
      }
    }
    const int channel = group + lane % 4 * kVector;
    if (channel >= a.c) continue;
    float bias[kVector];
    load(static_cast<const T*>(a.b_z) + channel, bias);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query = first + lane / 4 + 8 * r;
      if (query >= of.size()) continue;
      const Index at = of.position(query) * a.c + channel;
      float values[kVector];
      load(static_cast<const T*>(a.x) + at, values);
#pragma unroll
      for (int i = 0; i < kVector; ++i) values[i] += z[i / 2][2 * r + i % 2] + bias[i];
      store(static_cast<T*>(a.y) + at, values);
    }
  }
}

template <class T, int Arch, int D>
__device__ __forceinline__ void non_local_fwd(const NonLocalParams<NonLocalFwd>& p) {
  constexpr NonLocalTile kSizes = kNonLocalTile<T, Arch, D>;
  constexpr int kStep = kSizes.step, kPiece = kSizes.piece, kStride = kSizes.pair_stride;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const NonLocalBlock block(p.a.shape, p.grid, blockIdx.x / p.grid.query_tiles);
  const int first = int(blockIdx.x % p.grid.query_tiles) * NonLocalTile::kRows;
  if (first >= block.queries.size()) return;

  T* queries = dynamic_shared<T>();
  T* const buffers = queries + NonLocalTile::kRows * kSizes.query_stride;
  T *buffer = buffers, *next_buffer = buffer + kStep * kStride;
  constexpr int kPieces = D / kWidest<T>;
  const NonLocalSource<T> query{static_cast<const T*>(p.a.qkv) + threadIdx.x % kPieces * kWidest<T>, 3 * D};
  non_local_copy<T, kPieces>(block.queries, first, query, queries, kSizes.query_stride);
  NonLocalSteps<T, Arch, D> steps(block.keys, non_local_keys_source<T, D>(p.a.qkv, NonLocalSteps<T, Arch, D>::piece()));
  steps.fetch();
  steps.put(buffer);
  __syncthreads();

  T* rows = queries + warp * NonLocalTile::kRowsOfWarp * kSizes.query_stride;
  float attended[D / 8][4] = {}, largest[2], sum[2] = {};
  largest[0] = largest[1] = -INFINITY;
  for (int left = block.keys.size(); left > 0; left -= kStep) {
    const bool more = left > kStep;
    if (more) steps.fetch();
    float scores[kStep / 8][4];
    non_local_scores<T, Arch, D, kStep>(scores, rows, kSizes.query_stride, buffer, kStride, lane);
    if (!more) {
#pragma unroll
      for (int g = 0; g < kStep / 8; ++g)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (g * 8 + lane % 4 * 2 + i % 2 >= left) scores[g][i] = -INFINITY;
    }
    float shift[2], step_sum[2] = {};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = largest[r];
#pragma unroll
      for (int g = 0; g < kStep / 8; ++g) most = fmaxf(most, fmaxf(scores[g][2 * r], scores[g][2 * r + 1]));
      most = quad_max(most);
      const float scale = exp2_fast((largest[r] - most) * kLog2E);
      largest[r] = most;
      shift[r] = non_local_shift<T>(most);
      sum[r] *= scale;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) attended[n][2 * r] *= scale, attended[n][2 * r + 1] *= scale;
    }
#pragma unroll
    for (int column = 0; column < kStep; column += kPiece) {
#pragma unroll
      for (int g = column / 8; g < (column + kPiece) / 8; ++g)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          scores[g][i] = non_local_power<T>(scores[g][i], shift[i / 2]);
          step_sum[i / 2] += scores[g][i];
        }
      non_local_accumulate<T, Arch, D, kPiece>(attended, scores + column / 8, buffer + column * kStride + D, kStride,
                                               lane);
    }
    sum[0] += step_sum[0], sum[1] += step_sum[1];
    if (more) steps.put(next_buffer);
    __syncthreads();
    T* const done = buffer;
    buffer = next_buffer;
    next_buffer = done;
  }

  const int first_of_warp = first + warp * NonLocalTile::kRowsOfWarp;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float share = 1.0f / quad_sum(sum[r]);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) attended[n][2 * r] *= share, attended[n][2 * r + 1] *= share;
    const int query_index = first_of_warp + lane / 4 + 8 * r;
    if (!p.a.softmax || lane % 4 || query_index >= block.queries.size()) continue;
    const float softmax[] = {largest[r], share};
    store(p.a.softmax + 2 * block.queries.position(query_index), softmax);
  }
  if (p.a.attended) {
    non_local_put<T, D>(attended, 1, 1, rows, kSizes.query_stride, lane);
    __syncwarp();
    non_local_store<T, D>(block.queries, first_of_warp, rows, kSizes.query_stride, static_cast<T*>(p.a.attended), D,
                          lane);
  }
  non_local_project<T, Arch, D>(p.a, block.queries, first_of_warp, attended, buffers, lane);
}

template <class T, int Arch, int D>
__global__ void __launch_bounds__(NonLocalTile::kThreads, (kNonLocalTile<T, Arch, D>.fwd_blocks))
    non_local_fwd_kernel(NonLocalParams<NonLocalFwd> p) {
  if constexpr (instance_runs_here<T, Arch>()) non_local_fwd<T, Arch, D>(p);
}

}  // namespace awsrn_fast
