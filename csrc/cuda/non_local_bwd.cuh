// The gradient of the attention: the queries' facts, one kernel each for queries and for keys with values, and the sum
// over the blocks that attend to a key.
#pragma once

#include "cuda/non_local.cuh"

namespace awsrn_fast {

// What backward needs of a query beside its vectors: its probabilities are non_local_power(score, shift) * share, and
// the gradients of its scores are its probabilities times (their gradients - delta).
struct NonLocalQuery {
  float shift, share, delta, unused;
};

struct NonLocalWorkspace {
  NonLocalQuery* queries;  // [N, H*W]
  float* keys;             // [blocks, keys, 2D], each block's part of its keys' gradients; null: there is one block
};

struct NonLocalBwdParams {
  NonLocalBwd a;
  NonLocalGrid grid;
  NonLocalWorkspace workspace;
};

// As many threads a query as its vector has pieces of 16 bytes; each goes on with the sum of the one before, in the
// order of the product that delta is taken from.
template <class T>
__global__ void __launch_bounds__(NonLocalTile::kThreads, 8) non_local_query_kernel(NonLocalBwdParams p) {
  const NonLocalShape& s = p.a.shape;
  const int pieces = s.d / kWidest<T>, at = threadIdx.x % pieces * kWidest<T>;
  const Index query = Index(blockIdx.x) * (NonLocalTile::kThreads / pieces) + threadIdx.x / pieces;
  const bool inside = query < s.n * s.h * s.w;
  float grad[kWidest<T>] = {}, attended[kWidest<T>] = {}, sum = 0;
  if (inside) {
    load(static_cast<const T*>(p.a.grad) + query * s.d + at, grad);
    load(static_cast<const T*>(p.a.attended) + query * s.d + at, attended);
  }
  for (int turn = 0; turn < pieces; ++turn) {
    const float before = __shfl_up_sync(0xffffffffu, sum, 1);
    sum = at == 0 ? 0.0f : before;
#pragma unroll
    for (int i = 0; i < kWidest<T>; ++i) sum += grad[i] * attended[i];
  }
  if (!inside || at + kWidest<T> < s.d) return;
  float softmax[2];
  load(p.a.softmax + 2 * query, softmax);
  const float facts[] = {non_local_shift<T>(softmax[0]), softmax[1], sum, 0.0f};
  store(&p.workspace.queries[query].shift, facts);
}

// Shared memory for the facts of a step's queries, each fact by itself: a lane reads those of two neighbours at once.
template <int Step>
struct NonLocalStepFacts {
  float shift[Step], share[Step], delta[Step];
};

// The rows of a block are its queries, of which it finds the gradients, and the other rows are keys; or the rows are
// keys, with values, and the other rows are queries, with the gradients of what they attended to.
template <class T, int Arch, int D, bool OfKeys>
__device__ __forceinline__ void non_local_bwd(const NonLocalBwdParams& p) {
  constexpr NonLocalTile kSizes = kNonLocalTile<T, Arch, D>;
  constexpr int kStep = kSizes.step, kPiece = kSizes.piece, kStride = kSizes.pair_stride,
                kWarpRows = NonLocalTile::kRowsOfWarp;
  using Steps = NonLocalSteps<T, Arch, D>;
  using Facts = NonLocalStepFacts<kStep>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int tiles = OfKeys ? p.grid.key_tiles : p.grid.query_tiles;
  const Index b = blockIdx.x / tiles;
  const NonLocalBlock block(p.a.shape, p.grid, b);
  const NonLocalRectangle& own = OfKeys ? block.keys : block.queries;
  const NonLocalRectangle& met = OfKeys ? block.queries : block.keys;
  const int first = int(blockIdx.x % tiles) * NonLocalTile::kRows;
  if (first >= own.size()) return;

  T* tile = dynamic_shared<T>();
  T* buffer = tile + NonLocalTile::kRows * kStride;
  T* next_buffer = buffer + kStep * kStride;
  Facts* facts = reinterpret_cast<Facts*>(next_buffer + kStep * kStride);
  Facts* next_facts = facts + 1;
  const NonLocalSource<T> key = non_local_keys_source<T, D>(p.a.qkv, Steps::piece());
  const NonLocalSource<T> query = non_local_queries_source<T, D>(p.a.qkv, p.a.grad, Steps::piece());
  non_local_copy<T, Steps::kPieces>(own, first, OfKeys ? key : query, tile, kStride);
  Steps steps(met, OfKeys ? query : key);
  NonLocalWalk walk(met, threadIdx.x, kStep);  // of the queries met, by the first kStep threads
  float fact[4] = {};
  const auto fetch = [&] {
    steps.fetch();
    if constexpr (OfKeys) {
      if (threadIdx.x >= kStep) return;
      if (walk.inside()) {
        load(&p.workspace.queries[walk.position()].shift, fact);
      } else {
        fact[0] = fact[1] = fact[2] = 0;  // such a query has share 0, hence probability 0
      }
      walk.next();
    }
  };
  const auto put = [&](T* rows, Facts* to) {
    steps.put(rows);
    if constexpr (OfKeys) {
      if (threadIdx.x >= kStep) return;
      to->shift[threadIdx.x] = fact[0];
      to->share[threadIdx.x] = fact[1];
      to->delta[threadIdx.x] = fact[2];
    }
  };
  fetch();
  put(buffer, facts);
  __syncthreads();

  T* rows = tile + warp * kWarpRows * kStride;
  const int first_row = first + warp * kWarpRows;
  float shift[2] = {}, share[2] = {}, delta[2] = {};
  if constexpr (!OfKeys) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + lane / 4 + 8 * r;
      if (row >= own.size()) continue;
      float values[4];
      load(&p.workspace.queries[own.position(row)].shift, values);
      shift[r] = values[0], share[r] = values[1], delta[r] = values[2];
    }
  }
  float of_first[D / 8][4] = {}, of_second[D / 8][4] = {};  // queries; or keys, and values
  for (int left = met.size(); left > 0; left -= kStep) {
    const bool more = left > kStep;
    if (more) fetch();
#pragma unroll(kStep / kPiece > 1 ? 2 : 1)
    for (int column = 0; column < kStep; column += kPiece) {
      const T* piece = buffer + column * kStride;
      float scores[kPiece / 8][4], grads[kPiece / 8][4];
      non_local_scores<T, Arch, D, kPiece>(scores, rows, kStride, piece, kStride, lane);
      non_local_scores<T, Arch, D, kPiece>(grads, rows + D, kStride, piece + D, kStride, lane);
#pragma unroll
      for (int g = 0; g < kPiece / 8; ++g) {
        const int at = column + g * 8 + lane % 4 * 2;
        float shifts[2], shares[2], deltas[2];
        if constexpr (OfKeys) {
          load(facts->shift + at, shifts);
          load(facts->share + at, shares);
          load(facts->delta + at, deltas);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int r = i / 2, c = i % 2;
          const float power = non_local_power<T>(scores[g][i], OfKeys ? shifts[c] : shift[r]);
          float probability = power * (OfKeys ? shares[c] : share[r]);
          if (!OfKeys && at + c >= left) probability = 0;
          scores[g][i] = probability;
          grads[g][i] = probability * (grads[g][i] - (OfKeys ? deltas[c] : delta[r]));
        }
      }
      if constexpr (OfKeys) non_local_accumulate<T, Arch, D, kPiece>(of_second, scores, piece + D, kStride, lane);
      non_local_accumulate<T, Arch, D, kPiece>(of_first, grads, piece, kStride, lane);
    }
    if (more) put(next_buffer, next_facts);
    __syncthreads();
    T* const done = buffer;
    buffer = next_buffer;
    next_buffer = done;
    Facts* const done_facts = facts;
    facts = next_facts;
    next_facts = done_facts;
  }

  if constexpr (OfKeys) {
    if (p.workspace.keys) {
      float* parts = p.workspace.keys + b * own.size() * (2 * D);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = first_row + lane / 4 + 8 * r;
        if (row >= own.size()) continue;
        float* to = parts + Index(row) * (2 * D) + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
          const float of_key[] = {of_first[n][2 * r], of_first[n][2 * r + 1]};
          const float of_value[] = {of_second[n][2 * r], of_second[n][2 * r + 1]};
          store(to + n * 8, of_key);
          store(to + D + n * 8, of_value);
        }
      }
      return;
    }
  }
  __syncwarp();
  T* const grad_qkv = static_cast<T*>(p.a.grad_qkv);
  non_local_put<T, D>(of_first, 1.0f, 1.0f, rows, kStride, lane);
  if constexpr (OfKeys) non_local_put<T, D>(of_second, 1.0f, 1.0f, rows + D, kStride, lane);
  __syncwarp();
  non_local_store<T, (OfKeys ? 2 : 1) * D>(own, first_row, rows, kStride, grad_qkv + (OfKeys ? D : 0), 3 * D, lane);
}

template <class T, int Arch, int D, bool OfKeys>
__global__ void __launch_bounds__(NonLocalTile::kThreads, (kNonLocalTile<T, Arch, D>.bwd_blocks))
    non_local_bwd_kernel(NonLocalBwdParams p) {
  if constexpr (instance_runs_here<T, Arch>()) non_local_bwd<T, Arch, D, OfKeys>(p);
}

// Four values of a position's keys and values by each thread: the parts of all blocks that attend to it, in order.
template <class T>
__global__ void __launch_bounds__(NonLocalTile::kThreads, 8) non_local_sum_kernel(NonLocalBwdParams p) {
  const NonLocalShape& s = p.a.shape;
  const int quads = 2 * s.d / 4;
  const Index i = Index(blockIdx.x) * NonLocalTile::kThreads + threadIdx.x, position = i / quads;
  if (position >= s.n * s.h * s.w) return;
  const int at = int(i % quads) * 4, y = int(position / s.w % s.h), x = int(position % s.w);
  const Index image = position / s.w / s.h;
  const NonLocalSpan down = non_local_blocks_of_key(s.h, s.block, s.halo, y);
  const NonLocalSpan across = non_local_blocks_of_key(s.w, s.block, s.halo, x);
  float sum[4] = {};
  for (int row = down.start; row < down.start + down.length; ++row) {
    const NonLocalSpan rows = non_local_keys(s.h, s.block, s.halo, row);
    for (int column = across.start; column < across.start + across.length; ++column) {
      const NonLocalSpan columns = non_local_keys(s.w, s.block, s.halo, column);
      const Index b = (image * p.grid.down + row) * p.grid.across + column;
      const Index key = (b * rows.length + (y - rows.start)) * columns.length + (x - columns.start);
      float part[4];
      load(p.workspace.keys + key * 2 * s.d + at, part);
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] += part[k];
    }
  }
  store(static_cast<T*>(p.a.grad_qkv) + position * 3 * s.d + s.d + at, sum);
}

}  // namespace awsrn_fast
