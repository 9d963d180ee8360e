#include "cpu/kernels.h"
#include "cpu/non_local_bf16.h"
#include "cpu/non_local_products.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// Of each query: what its powers are relative to, their divisor, and the sum of its probabilities times their gradients.
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
// made once, as all tiles of keys meet them.
struct QueryTile {
  float *queries, *grads;
  Statistics* statistics;

  QueryTile(const NonLocalBwd& a, std::int64_t number)
      : queries(a.queries + number * a.shape.rows * 2 * a.shape.wide),
        grads(queries + a.shape.rows * a.shape.wide),
        statistics(reinterpret_cast<Statistics*>(a.statistics) + number * a.shape.rows) {}
};

template <class A, class T>
void make_tile(const NonLocalBwd& a, const Blocks& blocks, std::int64_t b, std::int64_t number, std::int64_t tile) {
  const std::int64_t d = a.shape.d, wide = a.shape.wide;
  const Positions met = positions_of(blocks, b, blocks.queries(b), tile * a.shape.rows, a.shape.rows);
  const QueryTile to(a, number);
  const T* grad = static_cast<const T*>(a.grad);
  const T* attended = static_cast<const T*>(a.attended);
  for (std::int64_t i = 0; i < a.shape.rows; ++i) {
    to.statistics[i] = {0, 0, 0};
    if (i >= met.count) continue;
    const std::int64_t at = met.at[i];
    float delta = 0;
    for (std::int64_t c = 0; c < d; ++c)
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
  const Vec power = exp2_below_128<typename A::Precision>(exponent(score, scaled_reference(splat(of.reference))));
  return A::kDivisorInExponent ? power : power * of.share;
}

// Rows of queries and of their incoming gradients times lanes of keys and values: probabilities, and the gradients of the
// scores, probability * (its gradient - delta). In lanes without a key the values mean nothing, and nobody reads them.
#if defined(__AVX512F__)
constexpr int kVecsAtOnce = 2;  // sums of both products in registers

template <class A>
inline void differentiate(const Matrix& queries, const Matrix& grads, std::int64_t depth, const float* key,
                          const float* value, const Statistics* statistics, float* powers, float* grad_scores,
                          float* along) {
  Vec e[kRowsAtOnce][kVecsAtOnce] = {}, g[kRowsAtOnce][kVecsAtOnce] = {};
  multiply<A, kRowsAtOnce, kVecsAtOnce>(queries, depth, key, kTile, e);
  multiply<A, kRowsAtOnce, kVecsAtOnce>(grads, depth, value, kTile, g);
#pragma GCC unroll 4
  for (int m = 0; m < kRowsAtOnce; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVecsAtOnce; ++v) {
      e[m][v] = probability<A>(e[m][v], statistics[m]);
      g[m][v] = e[m][v] * (g[m][v] - splat(statistics[m].delta));
    }
  A::put(e, powers, nullptr);
  A::put(g, grad_scores, along);
}
#else
constexpr int kVecsAtOnce = kGroup;  // one product after the other

template <class A>
inline void differentiate(const Matrix& queries, const Matrix& grads, std::int64_t depth, const float* key,
                          const float* value, const Statistics* statistics, float* powers, float* grad_scores,
                          float* along) {
  Vec e[kRowsAtOnce][kVecsAtOnce] = {};
  multiply<A, kRowsAtOnce, kVecsAtOnce>(queries, depth, key, kTile, e);
#pragma GCC unroll 4
  for (int m = 0; m < kRowsAtOnce; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVecsAtOnce; ++v) e[m][v] = probability<A>(e[m][v], statistics[m]);
  A::put(e, powers, nullptr);
  Vec g[kRowsAtOnce][kVecsAtOnce] = {};
  multiply<A, kRowsAtOnce, kVecsAtOnce>(grads, depth, value, kTile, g);
#pragma GCC unroll 4
  for (int m = 0; m < kRowsAtOnce; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVecsAtOnce; ++v)
      g[m][v] = load(powers + m * kTile + v * kLanes, AllLanes{}) * (g[m][v] - splat(statistics[m].delta));
  A::put(g, grad_scores, along);
}
#endif

// Workspaces of one block: its part of its keys' gradients, [key][2D], and each group's part of its queries',
// [group][query][D in whole vectors].
struct Partial {
  std::int64_t keys, queries, tiles, width;

  explicit Partial(const NonLocalBwd& a, const Blocks& blocks)
      : keys(blocks.keys(0).size()),
        queries(blocks.queries(0).size()),
        tiles((queries + a.shape.rows - 1) / a.shape.rows),
        width((a.shape.d + kLanes - 1) / kLanes * kLanes) {}
};

// One group of a block's tiles of keys, keys in lanes: the gradients of those keys and values, and what the group adds
// to the queries' gradients.
template <class A, class T>
void grad_of_group(const NonLocalBwd& a, const Blocks& blocks, std::int64_t b, std::int64_t group, float* scratch) {
  const std::int64_t d = a.shape.d, depth = elements_of(d, A::kDepth), wide = a.shape.wide;
  const T* qkv = static_cast<const T*>(a.qkv);
  const Partial partial(a, blocks);
  const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
  float* powers = scratch;
  float* grad_scores = powers + a.shape.rows * kTile;
  float* key = grad_scores + a.shape.rows * kTile;
  float* value = key + d * kTile;
  float* grad_key = value + d * kTile;
  float* grad_value = grad_key + d * kTile;
  float* key_rows = grad_value + d * kTile;
  float* along = powers + a.shape.rows * kTile / A::kDepth;  // where there are pairs, the powers take half their room
  float* grad_query = a.partial_queries + (b * a.shape.groups + group) * partial.queries * partial.width;
  for (std::int64_t i = 0; i < partial.queries * partial.width; ++i) grad_query[i] = 0;

  const std::int64_t tiles = (partial.keys + kTile - 1) / kTile;
  const std::int64_t end = lesser(partial.keys, tiles * (group + 1) / a.shape.groups * kTile);
  for (std::int64_t first = tiles * group / a.shape.groups * kTile; first < end; first += kTile) {
    const Positions tile = positions_of(blocks, b, keys, first, kTile);
    for (std::int64_t i = 0; i < 2 * d * kTile; ++i) grad_key[i] = 0;
    A::put_in_lanes(qkv + d, 3 * d, tile, d, key);
    A::put_in_lanes(qkv + 2 * d, 3 * d, tile, d, value);
    A::put_by_positions(qkv + d, 3 * d, tile, filled_up(tile.count), d, partial.width, key_rows);

    for (std::int64_t q = 0; q < queries.size(); q += a.shape.rows) {
      const QueryTile met(a, b * partial.tiles + q / a.shape.rows);
      const std::int64_t count = lesser(a.shape.rows, queries.size() - q), rows = filled_up(count);
      const Matrix query_matrix = A::by_channels(met.queries, wide), grad_matrix = A::by_channels(met.grads, wide);
      for (std::int64_t r = 0; r < rows; r += kRowsAtOnce)
        for (std::int64_t lane = 0; lane < kTile; lane += kVecsAtOnce * kLanes) {
          const std::int64_t at = r / A::kDepth * kTile + lane;
          differentiate<A>(query_matrix.from(r), grad_matrix.from(r), depth, key + lane, value + lane,
                           met.statistics + r, powers + at, grad_scores + at,
                           along + (r * kTile + lane) / A::kDepth);
        }
      A::end_at(tile.count, rows, along);
      const Matrix queries_by_positions = A::by_positions(A::second(met.queries, a.shape.rows, wide), wide);
      const Matrix grads_by_positions = A::by_positions(A::second(met.grads, a.shape.rows, wide), wide);
      add_product<A>(queries_by_positions, d, elements_of(count, A::kDepth), grad_scores, grad_key, kTile);
      add_product<A>(grads_by_positions, d, elements_of(count, A::kDepth), powers, grad_value, kTile);
      add_product<A>(A::along_lanes(grad_scores, along), count, elements_of(tile.count, A::kDepth), key_rows,
                     grad_query + q * partial.width, partial.width);
    }
    float* to = a.partial_keys + (b * partial.keys + first) * 2 * d;
    for (std::int64_t i = 0; i < tile.count; ++i)
      for (std::int64_t c = 0; c < 2 * d; ++c) to[i * 2 * d + c] = grad_key[c * kTile + i];
  }
}

// Up to kTile columns of one row of a map: the queries' gradients from all groups, the keys' from all blocks that see
// them, added in order.
template <class T>
void add_parts(const NonLocalBwd& a, const Blocks& blocks, std::int64_t row, std::int64_t start, float* sums) {
  const NonLocalShape& s = a.shape;
  const Partial partial(a, blocks);
  const std::int64_t d = s.d, per_image = blocks.down * blocks.across, image = row / s.h, y = row % s.h;
  const std::int64_t end = lesser(start + kTile, s.w), count = (end - start) * 3 * d;
  for (std::int64_t i = 0; i < count; ++i) sums[i] = 0;
  const auto within = [](Span span, std::int64_t at) { return at >= span.start && at < span.start + span.length; };
  const auto later = [](std::int64_t x, std::int64_t y) { return x > y ? x : y; };
  for (std::int64_t b = image * per_image; b < (image + 1) * per_image; ++b) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    if (within(keys.rows, y)) {
      const std::int64_t left = keys.columns.start, right = lesser(left + keys.columns.length, end);
      const float* from = a.partial_keys + (b * partial.keys + (y - keys.rows.start) * keys.columns.length) * 2 * d;
      for (std::int64_t x = later(left, start); x < right; ++x)
        for (std::int64_t c = 0; c < 2 * d; ++c) sums[(x - start) * 3 * d + d + c] += from[(x - left) * 2 * d + c];
    }
    if (!within(queries.rows, y)) continue;
    const std::int64_t left = queries.columns.start, right = lesser(left + queries.columns.length, end);
    for (std::int64_t group = 0; group < s.groups; ++group) {
      const std::int64_t first = (y - queries.rows.start) * queries.columns.length;
      const float* from = a.partial_queries + ((b * s.groups + group) * partial.queries + first) * partial.width;
      for (std::int64_t x = later(left, start); x < right; ++x)
        for (std::int64_t c = 0; c < d; ++c) sums[(x - start) * 3 * d + c] += from[(x - left) * partial.width + c];
    }
  }
  T* to = static_cast<T*>(a.grad_qkv) + (row * s.w + start) * 3 * d;
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(sums + i, AllLanes{}), AllLanes{});
  if (i < count) store(to + i, load(sums + i, SomeLanes{int(count - i)}), SomeLanes{int(count - i)});
}

template <class A, class T>
void bwd(const NonLocalBwd& a) {
  const Blocks blocks(a.shape);
  const auto own = [&] { return a.scratch + omp_get_thread_num() * a.shape.scratch; };
  const std::int64_t tiles = Partial(a, blocks).tiles;
#pragma omp parallel for num_threads(a.shape.threads) schedule(static)
  for (std::int64_t i = 0; i < blocks.count() * tiles; ++i)
    if (i % tiles * a.shape.rows < blocks.queries(i / tiles).size())
      make_tile<A, T>(a, blocks, i / tiles, i, i % tiles);
  const std::int64_t items = blocks.count() * a.shape.groups;
#pragma omp parallel for num_threads(a.shape.threads) schedule(dynamic) if (items > 1)
  for (std::int64_t item = 0; item < items; ++item)
    grad_of_group<A, T>(a, blocks, item / a.shape.groups, item % a.shape.groups, own());
  const std::int64_t pieces = (a.shape.w + kTile - 1) / kTile;
#pragma omp parallel for num_threads(a.shape.threads) schedule(static)
  for (std::int64_t piece = 0; piece < a.shape.n * a.shape.h * pieces; ++piece)
    add_parts<T>(a, blocks, piece / pieces, piece % pieces * kTile, own());
}

}  // namespace

void launch_non_local_bwd(const NonLocalBwd& a) {
  if (empty(a.shape)) return;
  if (a.shape.dtype == DType::float32) {
    bwd<Singles, float>(a);
  } else {
#if defined(__AVX512BF16__)
    bwd<Pairs, bf16>(a);
#else
    bwd<Singles, bf16>(a);
#endif
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
