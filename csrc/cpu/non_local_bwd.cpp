// Backward of non_local's attention: the gradients of queries, keys and values.
//
// Algorithm: as in flash attention (arXiv:2205.14135), probabilities are computed again from forward's statistics.
// First every tile of queries is made ready once: operands and delta, the product of output and gradient
// (make_tile()). Then keys lie in vector lanes and are combined with all tiles of queries of their block: powers, the
// gradients of the scores, and from them those of keys, values and queries (grad_of_group()). Last the parts of all
// groups and blocks are added up (add_parts()).
//
// Parallel: OpenMP over tiles of queries, then over groups of the blocks' keys, then over pieces of the map. The
// groups depend on the shape alone and their parts are added in order, so results don't depend on the number of
// threads.
//
// Memory: the queries' operands and statistics; a block's part of its keys' gradients and a group's of its queries'.
#include "cpu/kernels.h"
#include "cpu/non_local_bf16.h"
#include "cpu/non_local_products.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// A query's softmax statistics: the reference of its powers, their normalisation, and the sum of its probabilities
// times their gradients.
struct Statistics {
  float reference, share, delta;
};
static_assert(sizeof(Statistics) == kNonLocalStatistics * sizeof(float), "the workspace has room for them");

// Rounded as often as in the products that delta is subtracted from, so that equal sums leave nothing.
inline float with_product(float sum, float a, float b) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, sum);
#else
  return sum + a * b;
#endif
}

// A tile of queries, a.shape.rows of them: their operands, those of their incoming gradients, and statistics. They are
// made once, as all tiles of keys use them.
struct QueryTile {
  float *queries, *grads;
  Statistics* statistics;

  QueryTile(const NonLocalBwd& a, Index number)
      : queries(a.queries + number * a.shape.rows * 2 * a.shape.wide),
        grads(queries + a.shape.rows * a.shape.wide),
        statistics(reinterpret_cast<Statistics*>(a.statistics) + number * a.shape.rows) {}
};

template <class A, class T>
void make_tile(const NonLocalBwd& a, const Blocks& blocks, Index b, Index number, Index tile) {
  const Index d = a.shape.d, wide = a.shape.wide;
  const Positions met = positions_of(blocks, b, blocks.queries(b), tile * a.shape.rows, a.shape.rows);
  const QueryTile to(a, number);
  const T* grad = static_cast<const T*>(a.grad);
  const T* attended = static_cast<const T*>(a.attended);
  for (Index i = 0; i < a.shape.rows; ++i) {
    to.statistics[i] = {0, 0, 0};
    if (i >= met.count) continue;
    const Index at = met.at[i];
    float delta = 0;
    for (Index c = 0; c < d; ++c)
      delta = with_product(delta, value_of(grad[at * d + c]), value_of(attended[at * d + c]));
    const float reference = a.softmax[2 * at], share = a.softmax[2 * at + 1];
    if constexpr (A::kDivisorInExponent)
      to.statistics[i] = {reference - __builtin_logf(share), 1, delta};
    else
      to.statistics[i] = {reference, share, delta};
  }
  A::put_both(static_cast<const T*>(a.qkv), 3 * d, met, a.shape.rows, d, wide, to.queries);
  A::put_both(grad, d, met, a.shape.rows, d, wide, to.grads);
}

template <class A>
inline Vec probability(Vec score, const Statistics& of) {
  const Vec power = exp2_below_128<typename A::Precision>(exact_exponent(score, splat(of.reference)));
  return A::kDivisorInExponent ? power : power * of.share;
}

// Rows of queries and of their incoming gradients times lanes of keys and values: probabilities, and the gradients of
// the scores, probability * (its gradient - delta). Lanes without a key hold undefined values, which are
// never read.
#if defined(__AVX512F__)
constexpr int kVecsAtOnce = 2;  // sums of both products in registers

template <class A>
inline void differentiate(const StridedMatrix& queries, const StridedMatrix& grads, Index depth, const float* key,
                          const float* value, const Statistics* statistics, float* powers, float* grad_scores,
                          float* by_lanes) {
  Vec e[kRowsAtOnce][kVecsAtOnce] = {}, g[kRowsAtOnce][kVecsAtOnce] = {};
  multiply<A, kRowsAtOnce, kVecsAtOnce>(queries, depth, key, kTileLanes, e);
  multiply<A, kRowsAtOnce, kVecsAtOnce>(grads, depth, value, kTileLanes, g);
#pragma GCC unroll 4
  for (int m = 0; m < kRowsAtOnce; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVecsAtOnce; ++v) {
      e[m][v] = probability<A>(e[m][v], statistics[m]);
      g[m][v] = e[m][v] * (g[m][v] - splat(statistics[m].delta));
    }
  A::put(e, powers, nullptr);
  A::put(g, grad_scores, by_lanes);
}
#else
constexpr int kVecsAtOnce = kGroup;  // one product after the other

template <class A>
inline void differentiate(const StridedMatrix& queries, const StridedMatrix& grads, Index depth, const float* key,
                          const float* value, const Statistics* statistics, float* powers, float* grad_scores,
                          float* by_lanes) {
  Vec e[kRowsAtOnce][kVecsAtOnce] = {};
  multiply<A, kRowsAtOnce, kVecsAtOnce>(queries, depth, key, kTileLanes, e);
#pragma GCC unroll 4
  for (int m = 0; m < kRowsAtOnce; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVecsAtOnce; ++v) e[m][v] = probability<A>(e[m][v], statistics[m]);
  A::put(e, powers, nullptr);
  Vec g[kRowsAtOnce][kVecsAtOnce] = {};
  multiply<A, kRowsAtOnce, kVecsAtOnce>(grads, depth, value, kTileLanes, g);
#pragma GCC unroll 4
  for (int m = 0; m < kRowsAtOnce; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVecsAtOnce; ++v)
      g[m][v] = load(powers + m * kTileLanes + v * kLanes, AllLanes{}) * (g[m][v] - splat(statistics[m].delta));
  A::put(g, grad_scores, by_lanes);
}
#endif

// Workspaces of one block: its part of its keys' gradients, [key][2D], and each group's part of its queries',
// [group][query][D in whole vectors].
struct Partial {
  Index keys, queries, tiles, width;

  explicit Partial(const NonLocalBwd& a, const Blocks& blocks)
      : keys(blocks.keys(0).size()),
        queries(blocks.queries(0).size()),
        tiles(ceil_div(queries, a.shape.rows)),
        width(whole_vectors(a.shape.d)) {}
};

// One group of a block's tiles of keys, keys in lanes: the gradients of those keys and values, and what the group adds
// to the queries' gradients.
template <class A, class T>
void grad_of_group(const NonLocalBwd& a, const Blocks& blocks, Index b, Index group, float* scratch) {
  const Index d = a.shape.d, depth = elements_of(d, A::kDepth), wide = a.shape.wide;
  const T* qkv = static_cast<const T*>(a.qkv);
  const Partial partial(a, blocks);
  const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
  float* powers = scratch;
  float* grad_scores = powers + a.shape.rows * kTileLanes;
  float* key = grad_scores + a.shape.rows * kTileLanes;
  float* value = key + d * kTileLanes;
  float* grad_key = value + d * kTileLanes;
  float* grad_value = grad_key + d * kTileLanes;
  float* key_rows = grad_value + d * kTileLanes;
  // Where there are pairs, the powers take half their room.
  float* by_lanes = powers + a.shape.rows * kTileLanes / A::kDepth;
  float* grad_query = a.partial_queries + (b * a.shape.groups + group) * partial.queries * partial.width;
  for (Index i = 0; i < partial.queries * partial.width; ++i) grad_query[i] = 0;

  const Index tiles = ceil_div(partial.keys, kTileLanes);
  const Index end = min_of(partial.keys, tiles * (group + 1) / a.shape.groups * kTileLanes);
  for (Index first = tiles * group / a.shape.groups * kTileLanes; first < end; first += kTileLanes) {
    const Positions tile = positions_of(blocks, b, keys, first, kTileLanes);
    for (Index i = 0; i < 2 * d * kTileLanes; ++i) grad_key[i] = 0;
    A::put_in_lanes(qkv + d, 3 * d, tile, d, key);
    A::put_in_lanes(qkv + 2 * d, 3 * d, tile, d, value);
    A::put_by_positions(qkv + d, 3 * d, tile, filled_up(tile.count), d, partial.width, key_rows);

    for (Index q = 0; q < queries.size(); q += a.shape.rows) {
      const QueryTile met(a, b * partial.tiles + q / a.shape.rows);
      const Index count = min_of(a.shape.rows, queries.size() - q), rows = filled_up(count);
      const StridedMatrix query_matrix = A::by_channels(met.queries, wide),
                          grad_matrix = A::by_channels(met.grads, wide);
      for (Index r = 0; r < rows; r += kRowsAtOnce)
        for (Index lane = 0; lane < kTileLanes; lane += kVecsAtOnce * kLanes) {
          const Index at = r / A::kDepth * kTileLanes + lane;
          differentiate<A>(query_matrix.from(r), grad_matrix.from(r), depth, key + lane, value + lane,
                           met.statistics + r, powers + at, grad_scores + at,
                           by_lanes + (r * kTileLanes + lane) / A::kDepth);
        }
      A::end_at(tile.count, rows, by_lanes);
      const StridedMatrix queries_by_positions = A::by_positions(A::second(met.queries, a.shape.rows, wide), wide);
      const StridedMatrix grads_by_positions = A::by_positions(A::second(met.grads, a.shape.rows, wide), wide);
      add_product<A>(queries_by_positions, d, elements_of(count, A::kDepth), grad_scores, grad_key, kTileLanes);
      add_product<A>(grads_by_positions, d, elements_of(count, A::kDepth), powers, grad_value, kTileLanes);
      add_product<A>(A::along_lanes(grad_scores, by_lanes), count, elements_of(tile.count, A::kDepth), key_rows,
                     grad_query + q * partial.width, partial.width);
    }
    float* to = a.partial_keys + (b * partial.keys + first) * 2 * d;
    for (Index i = 0; i < tile.count; ++i)
      for (Index c = 0; c < 2 * d; ++c) to[i * 2 * d + c] = grad_key[c * kTileLanes + i];
  }
}

// Up to kTileLanes columns of one row of a map: the queries' gradients from all groups, the keys' from all blocks that
// see them, added in order.
template <class T>
void add_parts(const NonLocalBwd& a, const Blocks& blocks, Index row, Index start, float* sums) {
  const NonLocalShape& s = a.shape;
  const Partial partial(a, blocks);
  const Index d = s.d, per_image = blocks.down * blocks.across, image = row / s.h, y = row % s.h;
  const Index end = min_of(start + kTileLanes, s.w), count = (end - start) * 3 * d;
  for (Index i = 0; i < count; ++i) sums[i] = 0;
  const auto within = [](Span span, Index at) { return at >= span.start && at < span.start + span.length; };
  for (Index b = image * per_image; b < (image + 1) * per_image; ++b) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    if (within(keys.rows, y)) {
      const Index left = keys.columns.start, right = min_of(left + keys.columns.length, end);
      const float* from = a.partial_keys + (b * partial.keys + (y - keys.rows.start) * keys.columns.length) * 2 * d;
      for (Index x = max_of(left, start); x < right; ++x)
        for (Index c = 0; c < 2 * d; ++c) sums[(x - start) * 3 * d + d + c] += from[(x - left) * 2 * d + c];
    }
    if (!within(queries.rows, y)) continue;
    const Index left = queries.columns.start, right = min_of(left + queries.columns.length, end);
    for (Index group = 0; group < s.groups; ++group) {
      const Index first = (y - queries.rows.start) * queries.columns.length;
      const float* from = a.partial_queries + ((b * s.groups + group) * partial.queries + first) * partial.width;
      for (Index x = max_of(left, start); x < right; ++x)
        for (Index c = 0; c < d; ++c) sums[(x - start) * 3 * d + c] += from[(x - left) * partial.width + c];
    }
  }
  T* to = static_cast<T*>(a.grad_qkv) + (row * s.w + start) * 3 * d;
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(sums + i, AllLanes{}), AllLanes{});
  if (i < count) store(to + i, load(sums + i, SomeLanes{int(count - i)}), SomeLanes{int(count - i)});
}

template <class A, class T>
void bwd(const NonLocalBwd& a) {
  const Blocks blocks(a.shape);
  const auto own = [&] { return a.scratch + omp_get_thread_num() * a.shape.scratch; };
  const Index tiles = Partial(a, blocks).tiles;
#pragma omp parallel for num_threads(a.shape.threads) schedule(static)
  for (Index i = 0; i < blocks.count() * tiles; ++i)
    if (i % tiles * a.shape.rows < blocks.queries(i / tiles).size())
      make_tile<A, T>(a, blocks, i / tiles, i, i % tiles);
  const Index items = blocks.count() * a.shape.groups;
#pragma omp parallel for num_threads(a.shape.threads) schedule(dynamic) if (items > 1)
  for (Index item = 0; item < items; ++item)
    grad_of_group<A, T>(a, blocks, item / a.shape.groups, item % a.shape.groups, own());
  const Index pieces = ceil_div(a.shape.w, kTileLanes);
#pragma omp parallel for num_threads(a.shape.threads) schedule(static)
  for (Index piece = 0; piece < a.shape.n * a.shape.h * pieces; ++piece)
    add_parts<T>(a, blocks, piece / pieces, piece % pieces * kTileLanes, own());
}

}  // namespace

void launch_non_local_bwd(const NonLocalBwd& a) {
  if (empty(a.shape)) return;
  if (a.shape.dtype == DType::float32) {
    bwd<Fp32Operands, float>(a);
  } else {
#if defined(__AVX512BF16__)
    bwd<Bf16Operands, bf16>(a);
#else
    bwd<Fp32Operands, bf16>(a);
#endif
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
