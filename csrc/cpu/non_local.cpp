#include "cpu/kernels.h"
#include "cpu/non_local_blocks.h"
#include "cpu/vec_math.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// Positions lie in vector lanes, so a maximum or a sum over the softmax's other axis is lane by lane, and channels
// are only ever counted: any number of them fits. Scores are products of rows with lanes, as are the results.
constexpr int kVectors = int(kTile) / kLanes;
constexpr int kGroup = kLanes == 16 ? 4 : 2;  // vectors side by side: with four rows they fill the registers

// from[position][channel] -> to[channel][lane]; lanes without a position are zero.
inline void to_lanes(const float* from, std::int64_t stride, const Positions& positions, std::int64_t d,
                     float* to) {
  for (std::int64_t i = 0; i < kTile; ++i) {
    const float* row = i < positions.count ? from + positions.at[i] * stride : nullptr;
    for (std::int64_t c = 0; c < d; ++c) to[c * kTile + i] = row ? row[c] : 0;
  }
}

inline void from_lanes(const float* from, const Positions& positions, std::int64_t d, float* to, std::int64_t stride) {
  for (std::int64_t i = 0; i < positions.count; ++i)
    for (std::int64_t c = 0; c < d; ++c) to[positions.at[i] * stride + c] = from[c * kTile + i];
}

inline void scaled_copy(const float* from, std::int64_t count, float scale, float* to) {
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) store(to + c, splat(scale) * load(from + c, AllLanes{}), AllLanes{});
  for (; c < count; ++c) to[c] = scale * from[c];
}

struct Matrix {
  const float* values;
  std::int64_t row_step, step;
};

template <int M, int V>
inline void product_of_rows(const Matrix& a, std::int64_t depth, const float* b, float* out, std::int64_t width,
                            bool add) {
  Vec sums[M][V] = {};
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load(b + k * width + v * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec left = splat(a.values[m * a.row_step + k * a.step]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[m][v] += left * right[v];
    }
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) {
      float* to = out + m * width + v * kLanes;
      store(to, add ? load(to, AllLanes{}) + sums[m][v] : sums[m][v], AllLanes{});
    }
}

template <int M, int V>
inline void product_of_columns(Matrix a, std::int64_t rows, std::int64_t depth, const float* b, float* out,
                               std::int64_t width, bool add) {
  for (; rows >= M; rows -= M, a.values += M * a.row_step, out += M * width)
    product_of_rows<M, V>(a, depth, b, out, width, add);
  for (; rows > 0; --rows, a.values += a.row_step, out += width) product_of_rows<1, V>(a, depth, b, out, width, add);
}

// out[row][column] = sum over k of a[row][k] * b[k][column], or that added to `out`: in two levels, so that the
// rounding errors of thousands of positions do not pile up. There are `width` columns, whole vectors.
inline void product(const Matrix& a, std::int64_t rows, std::int64_t depth, const float* b, float* out,
                    std::int64_t width, bool add) {
  std::int64_t c = 0;
  for (; c + kGroup * kLanes <= width; c += kGroup * kLanes)
    product_of_columns<4, kGroup>(a, rows, depth, b + c, out + c, width, add);
  for (; c + 2 * kLanes <= width; c += 2 * kLanes)
    product_of_columns<4, 2>(a, rows, depth, b + c, out + c, width, add);
  for (; c < width; c += kLanes) product_of_columns<8, 1>(a, rows, depth, b + c, out + c, width, add);
}

// The softmax's running maximum and sum for each lane (flash attention, arXiv:2205.14135).
struct Running {
  float maximum[kTile], sum[kTile];
};

// Scores become exp(score - maximum); what was summed before is scaled to the new maximum.
inline void softmax_step(float* scores, std::int64_t rows, std::int64_t d, Running& running, float* attended) {
  for (std::int64_t lane = 0; lane < kTile; lane += kGroup * kLanes) {
    Vec before[kGroup], maximum[kGroup], sum[kGroup] = {};
    for (int v = 0; v < kGroup; ++v) maximum[v] = before[v] = load(running.maximum + lane + v * kLanes, AllLanes{});
    for (std::int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kGroup; ++v)
        maximum[v] = greater(maximum[v], load(scores + r * kTile + lane + v * kLanes, AllLanes{}));
    for (int v = 0; v < kGroup; ++v) {
      const Vec scale = exp_of_at_most_88(before[v] - maximum[v]);
      float* total = running.sum + lane + v * kLanes;
      store(total, scale * load(total, AllLanes{}), AllLanes{});
      for (std::int64_t c = 0; c < d; ++c) {
        float* value = attended + c * kTile + lane + v * kLanes;
        store(value, scale * load(value, AllLanes{}), AllLanes{});
      }
    }
    for (std::int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kGroup; ++v) {
        float* value = scores + r * kTile + lane + v * kLanes;
        const Vec power = exp_of_at_most_88(load(value, AllLanes{}) - maximum[v]);
        store(value, power, AllLanes{});
        sum[v] += power;
      }
    for (int v = 0; v < kGroup; ++v) {
      float* total = running.sum + lane + v * kLanes;
      store(total, load(total, AllLanes{}) + sum[v], AllLanes{});
      store(running.maximum + lane + v * kLanes, maximum[v], AllLanes{});
    }
  }
}

void fwd(const NonLocalFwd& a) {
  const Blocks blocks(a.shape);
  const std::int64_t d = a.shape.d;
  for_each_tile(blocks, a.scratch, [&](std::int64_t b, std::int64_t first, float* scratch) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    if (first >= queries.size()) return;
    const Positions tile = positions_of(blocks, b, queries, first, kTile);
    float* scores = scratch;
    float* query = scores + kRows * kTile;
    float* attended = query + d * kTile;
    float* rows = attended + d * kTile;
    Running running;
    for (std::int64_t i = 0; i < kTile; ++i) running.maximum[i] = -__builtin_inff(), running.sum[i] = 0;
    for (std::int64_t i = 0; i < d * kTile; ++i) attended[i] = 0;
    to_lanes(a.qkv, 3 * d, tile, d, query);

    for (std::int64_t k = 0; k < keys.size(); k += kRows) {
      const Positions met = positions_of(blocks, b, keys, k, kRows);
      for (std::int64_t i = 0; i < met.count; ++i)
        scaled_copy(a.qkv + met.at[i] * 3 * d + d, 2 * d, 1, rows + i * 2 * d);
      product({rows, 2 * d, 1}, met.count, d, query, scores, kTile, false);
      softmax_step(scores, met.count, d, running, attended);
      product({rows + d, 1, 2 * d}, d, met.count, scores, attended, kTile, true);
    }

    for (std::int64_t lane = 0; lane < kTile; lane += kLanes) {
      const Vec share = splat(1.0f) / load(running.sum + lane, AllLanes{});
      for (std::int64_t c = 0; c < d; ++c) {
        float* value = attended + c * kTile + lane;
        store(value, share * load(value, AllLanes{}), AllLanes{});
      }
    }
    from_lanes(attended, tile, d, a.attended, d);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      a.softmax[2 * tile.at[i]] = running.maximum[i];
      a.softmax[2 * tile.at[i] + 1] = 1 / running.sum[i];
    }
  });
}

// scores -> exponentials e, and the gradients of the probabilities -> gradients of the scores, e * (gradient - delta).
// The softmax's divisor is in the gradients and in delta already: the incoming gradient was multiplied by 1 / sum, so
// that no score is. Queries are rows; in lanes without a key the values mean nothing, and nobody reads them.
inline void differentiate(float* scores, float* grads, std::int64_t rows, const float* maximum, const float* delta) {
  for (std::int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t at = r * kTile + v * kLanes;
      const Vec e = exp_of_at_most_88(load(scores + at, AllLanes{}) - splat(maximum[r]));
      store(scores + at, e, AllLanes{});
      store(grads + at, e * (load(grads + at, AllLanes{}) - splat(delta[r])), AllLanes{});
    }
}

// For each query, the sum of its probabilities times their gradients, over the softmax's divisor.
void compute_delta(const NonLocalBwd& a) {
  const std::int64_t d = a.shape.d, positions = a.shape.n * a.shape.h * a.shape.w;
#pragma omp parallel for num_threads(a.shape.threads) schedule(static)
  for (std::int64_t i = 0; i < positions; ++i) {
    float total = 0;
    for (std::int64_t c = 0; c < d; ++c) total += a.grad[i * d + c] * a.attended[i * d + c];
    a.delta[i] = total * a.softmax[2 * i + 1];
  }
}

// Workspaces of one block: its part of its keys' gradients, [key][2D], and each group's part of its queries',
// [group][query][D in whole vectors].
struct Partial {
  std::int64_t keys, queries, width;

  explicit Partial(const NonLocalBwd& a, const Blocks& blocks)
      : keys(blocks.keys(0).size()),
        queries(blocks.queries(0).size()),
        width((a.shape.d + kLanes - 1) / kLanes * kLanes) {}
};

// One group of a block's tiles of keys, keys in lanes: the gradients of those keys and values, and what the group adds
// to the queries' gradients.
void grad_of_group(const NonLocalBwd& a, const Blocks& blocks, std::int64_t b, std::int64_t group, float* scratch) {
  const std::int64_t d = a.shape.d;
  const Partial partial(a, blocks);
  const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
  float* scores = scratch;
  float* grad_scores = scores + kRows * kTile;
  float* key = grad_scores + kRows * kTile;
  float* value = key + d * kTile;
  float* grad_key = value + d * kTile;
  float* grad_value = grad_key + d * kTile;
  float* key_rows = grad_value + d * kTile;
  float* rows = key_rows + partial.width * kTile;
  float* grad_query = a.partial_queries + (b * a.shape.groups + group) * partial.queries * partial.width;
  float maximum[kRows], delta[kRows];
  for (std::int64_t i = 0; i < partial.queries * partial.width; ++i) grad_query[i] = 0;
  for (std::int64_t i = 0; i < kTile * partial.width; ++i) key_rows[i] = 0;

  const std::int64_t tiles = (partial.keys + kTile - 1) / kTile;
  const std::int64_t end = lesser(partial.keys, tiles * (group + 1) / a.shape.groups * kTile);
  for (std::int64_t first = tiles * group / a.shape.groups * kTile; first < end; first += kTile) {
    const Positions tile = positions_of(blocks, b, keys, first, kTile);
    for (std::int64_t i = 0; i < 2 * d * kTile; ++i) grad_key[i] = 0;
    to_lanes(a.qkv + d, 3 * d, tile, d, key);
    to_lanes(a.qkv + 2 * d, 3 * d, tile, d, value);
    for (std::int64_t i = 0; i < tile.count; ++i)
      scaled_copy(a.qkv + tile.at[i] * 3 * d + d, d, 1, key_rows + i * partial.width);

    for (std::int64_t q = 0; q < queries.size(); q += kRows) {
      const Positions met = positions_of(blocks, b, queries, q, kRows);
      for (std::int64_t i = 0; i < met.count; ++i) {
        const std::int64_t position = met.at[i];
        scaled_copy(a.qkv + position * 3 * d, d, 1, rows + i * 2 * d);
        scaled_copy(a.grad + position * d, d, a.softmax[2 * position + 1], rows + i * 2 * d + d);
        maximum[i] = a.softmax[2 * position];
        delta[i] = a.delta[position];
      }
      product({rows, 2 * d, 1}, met.count, d, key, scores, kTile, false);
      product({rows + d, 2 * d, 1}, met.count, d, value, grad_scores, kTile, false);
      differentiate(scores, grad_scores, met.count, maximum, delta);
      product({rows, 1, 2 * d}, d, met.count, grad_scores, grad_key, kTile, true);
      product({rows + d, 1, 2 * d}, d, met.count, scores, grad_value, kTile, true);
      product({grad_scores, kTile, 1}, met.count, tile.count, key_rows, grad_query + q * partial.width, partial.width,
              true);
    }
    float* to = a.partial_keys + (b * partial.keys + first) * 2 * d;
    for (std::int64_t i = 0; i < tile.count; ++i)
      for (std::int64_t c = 0; c < 2 * d; ++c) to[i * 2 * d + c] = grad_key[c * kTile + i];
  }
}

// One row of a map: the queries' gradients from all groups, the keys' from all blocks that see them, added in order.
void add_parts(const NonLocalBwd& a, const Blocks& blocks, std::int64_t row) {
  const NonLocalShape& s = a.shape;
  const Partial partial(a, blocks);
  const std::int64_t d = s.d, per_image = blocks.down * blocks.across, image = row / s.h, y = row % s.h;
  float* grads = a.grad_qkv + row * s.w * 3 * d;
  for (std::int64_t i = 0; i < s.w * 3 * d; ++i) grads[i] = 0;
  for (std::int64_t b = image * per_image; b < (image + 1) * per_image; ++b) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    if (y >= keys.rows.start && y < keys.rows.start + keys.rows.length) {
      const float* from = a.partial_keys + (b * partial.keys + (y - keys.rows.start) * keys.columns.length) * 2 * d;
      float* to = grads + keys.columns.start * 3 * d + d;
      for (std::int64_t x = 0; x < keys.columns.length; ++x)
        for (std::int64_t c = 0; c < 2 * d; ++c) to[x * 3 * d + c] += from[x * 2 * d + c];
    }
    if (y < queries.rows.start || y >= queries.rows.start + queries.rows.length) continue;
    for (std::int64_t group = 0; group < s.groups; ++group) {
      const std::int64_t first = (y - queries.rows.start) * queries.columns.length;
      const float* from = a.partial_queries + ((b * s.groups + group) * partial.queries + first) * partial.width;
      float* to = grads + queries.columns.start * 3 * d;
      for (std::int64_t x = 0; x < queries.columns.length; ++x)
        for (std::int64_t c = 0; c < d; ++c) to[x * 3 * d + c] += from[x * partial.width + c];
    }
  }
}

void bwd(const NonLocalBwd& a) {
  const Blocks blocks(a.shape);
  compute_delta(a);
  const std::int64_t items = blocks.count() * a.shape.groups;
#pragma omp parallel for num_threads(a.shape.threads) schedule(dynamic) if (items > 1)
  for (std::int64_t item = 0; item < items; ++item)
    grad_of_group(a, blocks, item / a.shape.groups, item % a.shape.groups,
                  a.scratch + omp_get_thread_num() * a.shape.scratch);
#pragma omp parallel for num_threads(a.shape.threads) schedule(static)
  for (std::int64_t row = 0; row < a.shape.n * a.shape.h; ++row) add_parts(a, blocks, row);
}

}  // namespace

void launch_non_local_fwd(const NonLocalFwd& a) {
  if (!empty(a.shape)) fwd(a);
}

void launch_non_local_bwd(const NonLocalBwd& a) {
  if (!empty(a.shape)) bwd(a);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
