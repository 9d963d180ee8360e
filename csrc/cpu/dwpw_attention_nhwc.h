#pragma once

#include "cpu/dwpw_attention.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "cpu/vec_math.h"
#include "cpu/workspace.h"

// Forward on maps in channels_last: vectors run over the channels, so nothing is transposed, and a few positions at a
// time pass from the depthwise convolution to the output within the L1 cache.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

constexpr Index kPositions = 24;  // whole blocks of rows in gemm()

#if defined(__AVX512BF16__)
constexpr bool kHasPairs = true;
using Halves = Bf16Factors;
#else
constexpr bool kHasPairs = false;
using Halves = Fp32Factors;  // never used
#endif

// Whether the products for maps in T are of bfloat16, too: their factors then hold pairs of what is added up.
template <class T>
constexpr bool in_pairs = kHasPairs && sizeof(T) == 2;

// Converts pairs of rows to bfloat16 and interleaves the two rows of a pair.
inline void join_rows(float* values, Index rows, Index stride) {
  for (Index i = 0; i < rows; i += 2) {
    for (Index j = 0; j < stride; j += kLanes) {
      const Vec second = i + 1 < rows ? load(values + (i + 1) * stride + j, AllLanes{}) : Vec{};
      const VecU32 low = __builtin_convertvector(to_bf16_factor(load(values + i * stride + j, AllLanes{})), VecU32);
      const VecU32 joined = low | __builtin_convertvector(to_bf16_factor(second), VecU32) << 16;
      store_raw(values + i / 2 * stride + j, joined, AllLanes{});
    }
  }
}

// The weights as the products take them, channels out side by side and padded to whole vectors.
struct PackedWeights {
  float *taps, *b_dw;         // [9, C], [C]
  float *pw, *b_pw, *a, *b_a;  // [C, D], [D], [D, D], [D]
  float *pw_rows, *a_rows;     // for backward: [D, C], [D, D], in the order given
  Index c, d;           // padded

  PackedWeights(Workspace& workspace, const DwpwAttentionShape& s, bool backward)
      : c(whole_vectors(s.c)), d(whole_vectors(s.d)) {
    taps = workspace.take(9 * c);
    b_dw = workspace.take(c);
    pw = workspace.take(s.c * d);
    b_pw = workspace.take(d);
    a = workspace.take(s.d * d);
    b_a = workspace.take(d);
    pw_rows = backward ? workspace.take(s.d * c) : nullptr;
    a_rows = backward ? workspace.take(s.d * d) : nullptr;
  }

  // to[column][row] = from[row][column], zeros behind the rows.
  static void transpose_weights(const float* from, Index rows, Index columns, float* to, Index stride) {
    for (Index j = 0; j < columns; ++j) {
      for (Index i = 0; i < stride; ++i) to[j * stride + i] = i < rows && from ? from[i * columns + j] : 0;
    }
  }

  static void copy_weights(const float* from, Index rows, Index columns, float* to, Index stride) {
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < stride; ++j) to[i * stride + j] = j < columns ? from[i * columns + j] : 0;
    }
  }

  void join_pairs(const DwpwAttentionShape& s) const {
    join_rows(pw, s.c, d);
    join_rows(a, s.d, d);
    if (pw_rows) join_rows(pw_rows, s.d, c);
    if (a_rows) join_rows(a_rows, s.d, d);
  }

  void fill(const DwpwAttentionShape& s, const DwpwAttentionWeights& w) const {
    transpose_weights(w.w_dw, s.c, 9, taps, c);
    transpose_weights(w.b_dw, s.c, 1, b_dw, c);
    transpose_weights(w.w_pw, s.d, s.c, pw, d);
    transpose_weights(w.b_pw, s.d, 1, b_pw, d);
    transpose_weights(w.w_a, s.d, s.d, a, d);
    transpose_weights(w.b_a, s.d, 1, b_a, d);
    if (pw_rows) copy_weights(w.w_pw, s.d, s.c, pw_rows, c);
    if (a_rows) copy_weights(w.w_a, s.d, s.d, a_rows, d);
  }
};

struct NhwcFwdScratch {
  float *depthwise, *y, *gate;  // [positions, C], two of [positions, D]
  float* pairs;                 // [positions, half of C or D]
  NhwcFwdScratch(Workspace& workspace, const PackedWeights& w)
      : depthwise(workspace.take(kPositions * w.c)),
        y(workspace.take(kPositions * w.d)),
        gate(workspace.take(kPositions * w.d)),
        pairs(workspace.take(kPositions * (w.c > w.d ? w.c : w.d) / 2)) {}
};

// Three rows of the map; one outside of it is null.
template <class T>
struct ThreeRows {
  const T* row[3];
};

// Those around line `line` of all images' lines.
template <class T>
inline ThreeRows<T> three_rows(const DwpwAttentionShape& s, const T* map, Index line) {
  const Index y = line % s.h, size = s.w * s.c;
  const T* here = map + line * size;
  return {{y > 0 ? here - size : nullptr, here, y + 1 < s.h ? here + size : nullptr}};
}

// Some positions in a row away from its ends: each value is read once for all the outputs that it is in.
template <int Count, class T>
inline void depthwise_block(const ThreeRows<T>& rows, const Vec* taps, Vec bias, Index offset, Index channels,
                            float* out, Index out_stride) {
  Vec sums[Count];
#pragma GCC unroll 4
  for (int i = 0; i < Count; ++i) sums[i] = bias;
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) {
    if (!rows.row[r]) continue;
#pragma GCC unroll 6
    for (int k = 0; k < Count + 2; ++k) {
      const Vec value = load(rows.row[r] + offset + (k - 1) * channels, AllLanes{});
#pragma GCC unroll 4
      for (int i = 0; i < Count; ++i) {
        if (k - i >= 0 && k - i < 3) sums[i] += taps[3 * r + k - i] * value;
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < Count; ++i) store(out + i * out_stride, sums[i], AllLanes{});
}

// One position anywhere.
template <class T, class Lanes>
inline void depthwise_position(const ThreeRows<T>& rows, const Vec* taps, Vec bias, Index x, Index width,
                               Index channels, Index c, float* out, Lanes lanes) {
  Vec sum = bias;
  for (int r = 0; r < 3; ++r) {
    if (!rows.row[r]) continue;
    for (Index k = 0; k < 3; ++k) {
      const Index at = x + k - 1;
      if (at >= 0 && at < width) sum += taps[3 * r + k] * load(rows.row[r] + at * channels + c, lanes);
    }
  }
  store(out, sum, AllLanes{});
}

// `count` positions of a row from `column` on: [count, padded C].
template <class T>
inline void depthwise_positions(const DwpwAttentionShape& s, const PackedWeights& w, const ThreeRows<T>& rows,
                                Index column, Index count, float* out) {
  for (Index c = 0; c < s.c; c += kLanes) {
    const bool whole = s.c - c >= kLanes;
    Vec taps[9];
    for (int k = 0; k < 9; ++k) taps[k] = load(w.taps + k * w.c + c, AllLanes{});
    const Vec bias = load(w.b_dw + c, AllLanes{});
    for (Index i = 0; i < count;) {
      const Index x = column + i, inside = x > 0 ? min_of(count - i, s.w - 1 - x) : 0;
      float* to = out + i * w.c + c;
      if (whole && inside >= 4) {
        depthwise_block<4>(rows, taps, bias, x * s.c + c, s.c, to, w.c);
        i += 4;
        continue;
      }
      if (whole) {
        depthwise_position(rows, taps, bias, x, s.w, s.c, c, to, AllLanes{});
      } else {
        depthwise_position(rows, taps, bias, x, s.w, s.c, c, to, SomeLanes{int(s.c - c)});
      }
      ++i;
    }
  }
}

// Asks, beside a product, for the values that the same positions of the next rows will need: as many at each step as
// the block has rows, or twice as many, which comes to `channels` a position where a step takes one of them, or two.
template <class T>
struct Ahead {
  const T *first, *second;  // null: nothing
  Index channels, a_step = 1;

  void operator()(Index row, int rows, Index step) const {
    const Index at = row * channels + step * rows * a_step;
    if (first) __builtin_prefetch(first + at, 0, 3);
    if (second) __builtin_prefetch(second + at, 1, 3);
  }
};

// out = values weights + onto, for `values` [count, k] in rows of whole vectors; `pairs` has room for half of them.
template <class T>
inline void pointwise(Index count, Index vecs, Index k, Matrix values, Matrix weights, float* pairs, float* out,
                      Index out_stride, Onto onto, Ahead<T> ahead) {
  if (!in_pairs<T>) return gemm(count, vecs, k, values, weights, out, out_stride, onto, ahead);
  bf16* halves = reinterpret_cast<bf16*>(pairs);
#pragma GCC unroll 4
  for (Index i = 0; i < count * values.stride; i += kLanes) {
    store_raw(halves + i, to_bf16_factor(load(values.values + i, AllLanes{})), AllLanes{});
  }
  ahead.a_step = 2;
  gemm<Halves>(count, vecs, (k + 1) / 2, {pairs, values.stride / 2}, weights, out, out_stride, onto, ahead);
}

// `to` = `y` times the gate's sigmoid, for positions whose channels are `stride` apart in scratch.
template <class T>
inline void write_gated(const float* y, const float* gate, Index stride, Index channels, Index count, const T* residual,
                        T* to) {
  const auto vector = [&](Index from, Index at, auto lanes) __attribute__((always_inline)) {
    Vec value = load(y + from, AllLanes{}) * gate_of(load(gate + from, AllLanes{})).open;
    if (residual) value += load(residual + at, lanes);
    store(to + at, value, lanes);
  };
  if (stride == channels) {
#pragma GCC unroll 4
    for (Index i = 0; i < count * channels; i += kLanes) vector(i, i, AllLanes{});
    return;
  }
  const Index whole = channels / kLanes * kLanes;
  for (Index i = 0; i < count; ++i) {
    for (Index c = 0; c < whole; c += kLanes) vector(i * stride + c, i * channels + c, AllLanes{});
    if (whole < channels) vector(i * stride + whole, i * channels + whole, SomeLanes{int(channels - whole)});
  }
}

template <class T>
void fwd_part(const DwpwAttentionFwd& a, const PackedWeights& w, const NhwcFwdScratch& p, const ThreeRows<T>& rows,
              Index line, Index column, Index count) {
  const DwpwAttentionShape& s = a.shape;
  const Index lines = s.n * s.h, at = line * s.w + column;
  const T *x = static_cast<const T*>(a.x), *residual = static_cast<const T*>(a.residual);
  T* y = static_cast<T*>(a.y);
  const Ahead<T> x_below{line + 2 < lines ? x + (at + 2 * s.w) * s.c : nullptr, nullptr, s.c};
  const bool last = line + 1 == lines;
  const Ahead<T> maps_below{residual && !last ? residual + (at + s.w) * s.d : nullptr,
                            last ? nullptr : y + (at + s.w) * s.d, s.d};
  depthwise_positions(s, w, rows, column, count, p.depthwise);
  const Index vecs = w.d / kLanes;
  const Onto pw{nullptr, false, w.b_pw}, attention{nullptr, false, w.b_a};
  pointwise(count, vecs, s.c, {p.depthwise, w.c}, {w.pw, w.d}, p.pairs, p.y, w.d, pw, x_below);
  pointwise(count, vecs, s.d, {p.y, w.d}, {w.a, w.d}, p.pairs, p.gate, w.d, attention, maps_below);
  write_gated(p.y, p.gate, w.d, s.d, count, residual ? residual + at * s.d : nullptr, y + at * s.d);
}

template <class T>
void fwd_nhwc(const DwpwAttentionFwd& a) {
  const DwpwAttentionShape& s = a.shape;
  const DwpwAttentionWorkspace needs = dwpw_attention_fwd_workspace(s);
  Workspace shared{a.scratch + s.threads * needs.thread};
  const PackedWeights w(shared, s, false);
  w.fill(s, a.weights);
  if (in_pairs<T>) w.join_pairs(s);
  const Index lines = s.n * s.h;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index line = 0; line < lines; ++line) {
    Workspace workspace{a.scratch + omp_get_thread_num() * needs.thread};
    const NhwcFwdScratch p(workspace, w);
    const ThreeRows<T> rows = three_rows(s, static_cast<const T*>(a.x), line);
    for (Index column = 0; column < s.w; column += kPositions) {
      fwd_part(a, w, p, rows, line, column, min_of(kPositions, s.w - column));
    }
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
