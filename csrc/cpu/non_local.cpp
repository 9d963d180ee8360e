// Forward of non_local's attention, softmax(q k^T) v over the positions of a map, everywhere or in blocks (eq. 7-9).
//
// Algorithm: flash attention with an online softmax (arXiv:2205.14135), with one head and no scale: no matrix of
// scores goes to memory. Queries lie in vector lanes, a tile of up to 64; keys and values come in tiles of 32 rows.
// A tile of scores becomes powers in registers, relative to a reference for each query that moves only where scores
// exceed it by far (Running). Two tiles of queries share a tile of keys. Sums are fp32; with AVX512-BF16,
// factors of maps in bfloat16 stay bfloat16 (cpu/non_local_bf16.h).
//
// Parallel: OpenMP over tiles of queries of all blocks. Each is computed by one thread, whatever their number.
//
// Memory: a thread has two tiles of queries and of outputs, one tile of keys and values, and one of powers. For
// backward each query leaves its reference and the inverse of its sum.
#include "cpu/kernels.h"
#include "cpu/non_local_bf16.h"
#include "cpu/non_local_products.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// What each lane's scores are made relative to before exp, and the sum of those powers. Any number serves that is near
// enough to the largest score for no power to overflow, and for those that vanish not to matter. So it is not looked
// for: it starts as the largest of a few scores and moves where others exceed it by far, and a tile of scores becomes
// powers while it is in registers. (Flash attention, arXiv:2205.14135, takes each tile's maximum first.)
struct Running {
  float reference[kTileLanes], sum[kTileLanes];
};
constexpr float kFar = 20 * kLog2E;

template <class A>
inline void first_reference(const StridedMatrix& keys, Index rows, Index depth, const float* query, float* reference) {
  for (Index lane = 0; lane < kTileLanes; lane += kGroup * kLanes) {
    Vec scores[kRowsAtOnce][kGroup] = {};
    multiply<A, kRowsAtOnce, kGroup>(keys, depth, query + lane, kTileLanes, scores);
    for (int v = 0; v < kGroup; ++v) {
      Vec highest = splat(-0x1p100f);  // less would be infinite
      for (int m = 0; m < kRowsAtOnce && m < rows; ++m) highest = max_of(scores[m][v], highest);
      store(reference + lane + v * kLanes, highest, AllLanes{});
    }
  }
}

// Rows of keys times lanes of queries -> exp(score - reference); the highest of those differences, in powers of two,
// and the powers' sum.
template <class A, bool Whole>
inline void powers_of_rows(const StridedMatrix& keys, Index rows, Index depth, const float* query,
                           const float* reference, float* powers, Vec (&highest)[kGroup], Vec (&total)[kGroup]) {
  Vec scores[kRowsAtOnce][kGroup] = {};
  multiply<A, kRowsAtOnce, kGroup>(keys, depth, query, kTileLanes, scores);
#pragma GCC unroll 4
  for (int v = 0; v < kGroup; ++v) {
    const Vec base = scaled_reference(load(reference + v * kLanes, AllLanes{}));
#pragma GCC unroll 4
    for (int m = 0; m < kRowsAtOnce; ++m) {
      const Vec above = exponent(scores[m][v], base);
      if (Whole || m < rows) highest[v] = max_of(above, highest[v]);
      scores[m][v] = Whole || m < rows ? exp2_below_128<typename A::Precision>(above) : Vec{};
    }
#pragma GCC unroll 4
    for (int m = 0; m < kRowsAtOnce; m += A::kDepth) {
      Vec together[A::kDepth];
      for (int i = 0; i < A::kDepth; ++i) together[i] = scores[m + i][v];
      const Vec elements = A::packed(together);
      total[v] = A::added(total[v], elements);
      store(powers + m / A::kDepth * kTileLanes + v * kLanes, elements, AllLanes{});
    }
  }
}

// All rows of a tile; the highest of all differences.
template <class A>
inline float powers_of_tile(const StridedMatrix& keys, Index rows, Index depth, const float* query,
                            const float* reference, float* powers, Vec (&highest)[kGroup], Vec (&total)[kGroup]) {
  for (int v = 0; v < kGroup; ++v) highest[v] = splat(-__builtin_inff()), total[v] = Vec{};
  Index r = 0;
  for (; r + kRowsAtOnce <= rows; r += kRowsAtOnce)
    powers_of_rows<A, true>(keys.from(r), kRowsAtOnce, depth, query, reference, powers + r / A::kDepth * kTileLanes,
                            highest, total);
  if (r < rows)
    powers_of_rows<A, false>(keys.from(r), rows - r, depth, query, reference, powers + r / A::kDepth * kTileLanes,
                             highest, total);
  Vec most = highest[0];
  for (int v = 1; v < kGroup; ++v) most = max_of(most, highest[v]);
  float result = most[0];
  for (int i = 1; i < kLanes; ++i) result = most[i] > result ? most[i] : result;
  return result;
}

// The next tile of keys: their powers, once more where a reference had to move, and with it what was summed before.
template <class A>
inline void softmax_step(const StridedMatrix& keys, Index rows, Index d, const float* query, float* powers,
                         Running& running, float* attended) {
  const Index depth = elements_of(d, A::kDepth);
  for (Index lane = 0; lane < kTileLanes; lane += kGroup * kLanes) {
    float* reference = running.reference + lane;
    Vec highest[kGroup], total[kGroup];
    while (powers_of_tile<A>(keys, rows, depth, query + lane, reference, powers + lane, highest, total) > kFar) {
      for (int v = 0; v < kGroup; ++v) {
        const Vec before = load(reference + v * kLanes, AllLanes{}), now = max_of(before + highest[v] * kLn2, before);
        const Vec scale = exp2_below_128<Precise>((before - now) * kLog2E);
        float* sum = running.sum + lane + v * kLanes;
        store(reference + v * kLanes, now, AllLanes{});
        store(sum, scale * load(sum, AllLanes{}), AllLanes{});
        for (Index c = 0; c < d; ++c) {
          float* value = attended + c * kTileLanes + lane + v * kLanes;
          store(value, scale * load(value, AllLanes{}), AllLanes{});
        }
      }
    }
    for (int v = 0; v < kGroup; ++v) {
      float* sum = running.sum + lane + v * kLanes;
      store(sum, load(sum, AllLanes{}) + total[v], AllLanes{});
    }
  }
}

template <class T>
inline void from_lanes(const float* from, const Positions& positions, Index d, T* to) {
  for (Index i = 0; i < positions.count; ++i)
    for (Index c = 0; c < d; c += kLanes) {
      Vec row{};
      const int present = int(min_of(kLanes, d - c));
      for (int j = 0; j < present; ++j) row[j] = from[(c + j) * kTileLanes + i];
      store(to + positions.at[i] * d + c, row, SomeLanes{present});
    }
}

// Tiles of queries that share a tile of keys, as making its operands takes a tenth of what a tile does.
constexpr int kTogether = 2;

struct QueryTile {
  Positions positions;
  Running running;
  float *query, *attended;
};

template <class T>
void finish(const NonLocalFwd& a, const QueryTile& tile) {
  const Index d = a.shape.d;
  for (Index lane = 0; lane < kTileLanes; lane += kLanes) {
    const Vec share = splat(1.0f) / load(tile.running.sum + lane, AllLanes{});
    for (Index c = 0; c < d; ++c) {
      float* value = tile.attended + c * kTileLanes + lane;
      store(value, share * load(value, AllLanes{}), AllLanes{});
    }
  }
  from_lanes(tile.attended, tile.positions, d, static_cast<T*>(a.attended));
  for (Index i = 0; i < tile.positions.count; ++i) {
    float* softmax = a.softmax + 2 * tile.positions.at[i];
    softmax[0] = tile.running.reference[i];
    softmax[1] = 1 / tile.running.sum[i];
  }
}

template <class A, class T>
void fwd(const NonLocalFwd& a) {
  const Blocks blocks(a.shape);
  const Index d = a.shape.d, wide = a.shape.wide, depth = elements_of(d, A::kDepth);
  const T* qkv = static_cast<const T*>(a.qkv);
  for_each_step(blocks, kTogether * kTileLanes, a.scratch, [&](Index b, Index first, float* scratch) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    float* powers = scratch;
    float* key_rows = powers + kRows * kTileLanes;
    float* value_rows = key_rows + kRows * wide;
    float* maps = value_rows + kRows * wide;
    QueryTile tiles[kTogether];
    int count = 0;
    for (; count < kTogether && first + count * kTileLanes < queries.size(); ++count) {
      QueryTile& tile = tiles[count];
      tile.positions = positions_of(blocks, b, queries, first + count * kTileLanes, kTileLanes);
      tile.query = maps + 2 * count * d * kTileLanes;
      tile.attended = tile.query + d * kTileLanes;
      for (Index i = 0; i < kTileLanes; ++i) tile.running.sum[i] = 0;
      for (Index i = 0; i < d * kTileLanes; ++i) tile.attended[i] = 0;
      A::put_in_lanes(qkv, 3 * d, tile.positions, d, tile.query);
    }

    for (Index k = 0; count && k < keys.size(); k += kRows) {
      const Positions met = positions_of(blocks, b, keys, k, kRows);
      A::put_by_channels(qkv + d, 3 * d, met, filled_up(met.count), d, wide, key_rows);
      A::put_by_positions(qkv + 2 * d, 3 * d, met, filled_up(met.count), d, wide, value_rows);
      const StridedMatrix key_matrix = A::by_channels(key_rows, wide), values = A::by_positions(value_rows, wide);
      for (int t = 0; t < count; ++t) {
        QueryTile& tile = tiles[t];
        if (k == 0) first_reference<A>(key_matrix, met.count, depth, tile.query, tile.running.reference);
        softmax_step<A>(key_matrix, met.count, d, tile.query, powers, tile.running, tile.attended);
        add_product<A>(values, d, elements_of(met.count, A::kDepth), powers, tile.attended, kTileLanes);
      }
    }
    for (int t = 0; t < count; ++t) finish<T>(a, tiles[t]);
  });
}

}  // namespace

void launch_non_local_fwd(const NonLocalFwd& a) {
  if (empty(a.shape)) return;
  if (a.shape.dtype == DType::float32) {
    fwd<Fp32Operands, float>(a);
  } else {
#if defined(__AVX512BF16__)
    fwd<Bf16Operands, bf16>(a);
#else
    fwd<Fp32Operands, bf16>(a);
#endif
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
