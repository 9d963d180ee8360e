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

template <int M>
inline void product_of_rows(const Matrix& a, std::int64_t depth, const float* b, float* out, bool add) {
  for (std::int64_t lane = 0; lane < kTile; lane += kGroup * kLanes) {
    Vec sums[M][kGroup] = {};
    for (std::int64_t k = 0; k < depth; ++k) {
      Vec right[kGroup];
#pragma GCC unroll 4
      for (int v = 0; v < kGroup; ++v) right[v] = load(b + k * kTile + lane + v * kLanes, AllLanes{});
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        const Vec left = splat(a.values[m * a.row_step + k * a.step]);
#pragma GCC unroll 4
        for (int v = 0; v < kGroup; ++v) sums[m][v] += left * right[v];
      }
    }
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < kGroup; ++v) {
        float* to = out + m * kTile + lane + v * kLanes;
        store(to, add ? load(to, AllLanes{}) + sums[m][v] : sums[m][v], AllLanes{});
      }
  }
}

// out[row][lane] = sum over k of a[row][k] * b[k][lane], or that added to `out`: in two levels, so that the rounding
// errors of thousands of positions do not pile up.
inline void product(Matrix a, std::int64_t rows, std::int64_t depth, const float* b, float* out, bool add) {
  for (; rows >= 4; rows -= 4, a.values += 4 * a.row_step, out += 4 * kTile) product_of_rows<4>(a, depth, b, out, add);
  for (; rows > 0; --rows, a.values += a.row_step, out += kTile) product_of_rows<1>(a, depth, b, out, add);
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
  for_each_tile(blocks, blocks.queries(0).size(), a.scratch, [&](std::int64_t b, std::int64_t first, float* scratch) {
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
      product({rows, 2 * d, 1}, met.count, d, query, scores, false);
      softmax_step(scores, met.count, d, running, attended);
      product({rows + d, 1, 2 * d}, d, met.count, scores, attended, true);
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
// that no score is. maximum(row, lane) and delta(row, lane) are the query's.
template <class Maximum, class Delta>
inline void differentiate(float* scores, float* grads, std::int64_t rows, Maximum maximum, Delta delta) {
  for (std::int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t lane = v * kLanes, at = r * kTile + lane;
      const Vec e = exp_of_at_most_88(load(scores + at, AllLanes{}) - maximum(r, lane));
      store(scores + at, e, AllLanes{});
      store(grads + at, e * (load(grads + at, AllLanes{}) - delta(r, lane)), AllLanes{});
    }
}

// Gradients of the queries, queries in lanes; and delta, for each query the sum of its probabilities times their
// gradients, over the softmax's divisor.
void grad_queries(const NonLocalBwd& a, const Blocks& blocks) {
  const std::int64_t d = a.shape.d;
  for_each_tile(blocks, blocks.queries(0).size(), a.scratch, [&](std::int64_t b, std::int64_t first, float* scratch) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    if (first >= queries.size()) return;
    const Positions tile = positions_of(blocks, b, queries, first, kTile);
    float* scores = scratch;
    float* grad_scores = scores + kRows * kTile;
    float* query = grad_scores + kRows * kTile;
    float* grad = query + d * kTile;
    float* grad_query = grad + d * kTile;
    float* rows = grad_query + d * kTile;
    float maximum[kTile] = {}, delta[kTile] = {};
    for (std::int64_t i = 0; i < d * kTile; ++i) grad_query[i] = 0;
    to_lanes(a.qkv, 3 * d, tile, d, query);
    to_lanes(a.grad, d, tile, d, grad);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      const std::int64_t position = tile.at[i];
      const float share = a.softmax[2 * position + 1];
      for (std::int64_t c = 0; c < d; ++c) grad[c * kTile + i] *= share;
      for (std::int64_t c = 0; c < d; ++c) delta[i] += grad[c * kTile + i] * a.attended[position * d + c];
      a.delta[position] = delta[i];
      maximum[i] = a.softmax[2 * position];
    }

    for (std::int64_t k = 0; k < keys.size(); k += kRows) {
      const Positions met = positions_of(blocks, b, keys, k, kRows);
      for (std::int64_t i = 0; i < met.count; ++i)
        scaled_copy(a.qkv + met.at[i] * 3 * d + d, 2 * d, 1, rows + i * 2 * d);
      product({rows, 2 * d, 1}, met.count, d, query, scores, false);
      product({rows + d, 2 * d, 1}, met.count, d, grad, grad_scores, false);
      differentiate(
          scores, grad_scores, met.count,
          [&](std::int64_t, std::int64_t lane) { return load(maximum + lane, AllLanes{}); },
          [&](std::int64_t, std::int64_t lane) { return load(delta + lane, AllLanes{}); });
      product({rows, 1, 2 * d}, d, met.count, grad_scores, grad_query, true);
    }
    from_lanes(grad_query, tile, d, a.grad_qkv, 3 * d);
  });
}

// Gradients of the keys and values, keys in lanes: each block's own part of them into `partial`, [block][key][2D].
void grad_keys_of_blocks(const NonLocalBwd& a, const Blocks& blocks) {
  const std::int64_t d = a.shape.d, window = blocks.keys(0).size();
  for_each_tile(blocks, window, a.scratch, [&](std::int64_t b, std::int64_t first, float* scratch) {
    const Rectangle queries = blocks.queries(b), keys = blocks.keys(b);
    const Positions tile = positions_of(blocks, b, keys, first, kTile);
    float* scores = scratch;
    float* grad_scores = scores + kRows * kTile;
    float* key = grad_scores + kRows * kTile;
    float* value = key + d * kTile;
    float* grad_key = value + d * kTile;
    float* grad_value = grad_key + d * kTile;
    float* rows = grad_value + d * kTile;
    float maximum[kRows], delta[kRows];
    for (std::int64_t i = 0; i < 2 * d * kTile; ++i) grad_key[i] = 0;
    to_lanes(a.qkv + d, 3 * d, tile, d, key);
    to_lanes(a.qkv + 2 * d, 3 * d, tile, d, value);

    for (std::int64_t q = 0; q < queries.size(); q += kRows) {
      const Positions met = positions_of(blocks, b, queries, q, kRows);
      for (std::int64_t i = 0; i < met.count; ++i) {
        const std::int64_t position = met.at[i];
        scaled_copy(a.qkv + position * 3 * d, d, 1, rows + i * 2 * d);
        scaled_copy(a.grad + position * d, d, a.softmax[2 * position + 1], rows + i * 2 * d + d);
        maximum[i] = a.softmax[2 * position];
        delta[i] = a.delta[position];
      }
      product({rows, 2 * d, 1}, met.count, d, key, scores, false);
      product({rows + d, 2 * d, 1}, met.count, d, value, grad_scores, false);
      differentiate(
          scores, grad_scores, met.count, [&](std::int64_t r, std::int64_t) { return splat(maximum[r]); },
          [&](std::int64_t r, std::int64_t) { return splat(delta[r]); });
      product({rows, 1, 2 * d}, d, met.count, grad_scores, grad_key, true);
      product({rows + d, 1, 2 * d}, d, met.count, scores, grad_value, true);
    }
    float* to = a.partial + (b * window + first) * 2 * d;
    for (std::int64_t i = 0; i < tile.count; ++i)
      for (std::int64_t c = 0; c < 2 * d; ++c) to[i * 2 * d + c] = grad_key[c * kTile + i];
  });
}

// Each key's gradient: those from all blocks that see it, added in the blocks' order.
void add_blocks(const NonLocalBwd& a, const Blocks& blocks) {
  const NonLocalShape& s = a.shape;
  const std::int64_t d = s.d, window = blocks.keys(0).size(), per_image = blocks.down * blocks.across;
#pragma omp parallel for num_threads(s.threads) schedule(static) if (s.n * s.h > 1)
  for (std::int64_t row = 0; row < s.n * s.h; ++row) {
    const std::int64_t image = row / s.h, y = row % s.h;
    for (std::int64_t x = 0; x < s.w; ++x)
      for (std::int64_t c = 0; c < 2 * d; ++c) a.grad_qkv[(row * s.w + x) * 3 * d + d + c] = 0;
    for (std::int64_t b = image * per_image; b < (image + 1) * per_image; ++b) {
      const Rectangle keys = blocks.keys(b);
      if (y < keys.rows.start || y >= keys.rows.start + keys.rows.length) continue;
      const float* from = a.partial + (b * window + (y - keys.rows.start) * keys.columns.length) * 2 * d;
      float* to = a.grad_qkv + (row * s.w + keys.columns.start) * 3 * d + d;
      for (std::int64_t x = 0; x < keys.columns.length; ++x)
        for (std::int64_t c = 0; c < 2 * d; ++c) to[x * 3 * d + c] += from[x * 2 * d + c];
    }
  }
}

}  // namespace

void launch_non_local_fwd(const NonLocalFwd& a) {
  if (!empty(a.shape)) fwd(a);
}

void launch_non_local_bwd(const NonLocalBwd& a) {
  if (empty(a.shape)) return;
  const Blocks blocks(a.shape);
  grad_queries(a, blocks);
  grad_keys_of_blocks(a, blocks);
  add_blocks(a, blocks);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
