#pragma once

#include "cpu/dwpw_attention_nhwc.h"
#include "cpu/dwpw_attention_sums.h"
#include "cpu/outer_product.h"

// Backward on maps in channels_last, in strips of rows: a few positions at a time pass from the depthwise convolution
// to the gradient of its output, of which three rows are kept.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// Twice forward's: the weights' gradients are read and written once for so many.
constexpr Index kBwdPositions = 2 * kPositions;

// What a strip adds up for the gradients of the weights, padded to whole vectors.
struct NhwcSums {
  float *w_pw, *w_a;  // [D, C], [D, D]
  float *b_pw, *b_a;  // [D]
  float* w_dw;        // [10, C]: nine taps and the bias

  NhwcSums(Workspace& workspace, const PackedWeights& w)
      : w_pw(workspace.take(w.d * w.c)),
        w_a(workspace.take(w.d * w.d)),
        b_pw(workspace.take(w.d)),
        b_a(workspace.take(w.d)),
        w_dw(workspace.take(10 * w.c)) {}
};

struct NhwcBwdScratch {
  float *depthwise, *y;      // [positions, C], [positions, D]
  float *grad_s, *grad_y;    // two of [positions, D]: of the gate's argument and of Y
  float* pairs;              // [positions, half of C or D]
  float* rows;               // [3, W + 2, C]: of the depthwise output, with zeros around
  Index line;

  NhwcBwdScratch(Workspace& workspace, const DwpwAttentionShape& s, const PackedWeights& w)
      : depthwise(workspace.take(kBwdPositions * w.c)),
        y(workspace.take(kBwdPositions * w.d)),
        grad_s(workspace.take(kBwdPositions * w.d)),
        grad_y(workspace.take(kBwdPositions * w.d)),
        pairs(workspace.take(kBwdPositions * (w.c > w.d ? w.c : w.d) / 2)),
        rows(workspace.take(3 * (s.w + 2) * w.c)),
        line((s.w + 2) * w.c) {}

  // From column -1 on.
  float* row(Index y) const { return rows + (y + 3) % 3 * line; }
};

// From the gate's argument in grad_s and the gradient of the result: what they are named for, but that grad_y still
// lacks what comes through the gate.
template <class T>
inline void gate_backward(const DwpwAttentionShape& s, const PackedWeights& w, const NhwcBwdScratch& scratch,
                          Index count, const T* grad) {
  const auto vector = [&](Index at, Index from, auto lanes) __attribute__((always_inline)) {
    const Gate gate = gate_of(load(scratch.grad_s + at, AllLanes{}));
    const Vec gated = load(grad + from, lanes) * gate.open;
    store(scratch.grad_y + at, gated, AllLanes{});
    // The sigmoid's slope, gate * (1 - gate), without the cancellation.
    store(scratch.grad_s + at, gated * load(scratch.y + at, AllLanes{}) * (gate.e * gate.open), AllLanes{});
  };
  if (w.d == s.d) {
#pragma GCC unroll 2
    for (Index i = 0; i < count * s.d; i += kLanes) vector(i, i, AllLanes{});
    return;
  }
  const Index whole = s.d / kLanes * kLanes;
  for (Index i = 0; i < count; ++i) {
    for (Index d = 0; d < whole; d += kLanes) vector(i * w.d + d, i * s.d + d, AllLanes{});
    vector(i * w.d + whole, i * s.d + whole, SomeLanes{int(s.d - whole)});
  }
}

inline void add_positions(const float* values, Index count, Index width, float* sums) {
  for (Index d = 0; d < width; d += kLanes) {
    Vec sum{};
    for (Index i = 0; i < count; ++i) sum += load(values + i * width + d, AllLanes{});
    store(sums + d, load(sums + d, AllLanes{}) + sum, AllLanes{});
  }
}

// The gradient of the depthwise output at some positions, into its row; the weights' into `sums`.
template <class T>
void bwd_part(const DwpwAttentionBwd& a, const PackedWeights& w, const NhwcBwdScratch& scratch, const NhwcSums* sums,
              Index line, Index column, Index count) {
  const DwpwAttentionShape& s = a.shape;
  const Index y = line % s.h, at = line * s.w + column, vecs = w.d / kLanes;
  const T *x = static_cast<const T*>(a.x), *grad = static_cast<const T*>(a.grad_y);
  const bool last = line + 1 == s.n * s.h;
  const Ahead<T> x_below{y + 2 < s.h ? x + (at + 2 * s.w) * s.c : nullptr, nullptr, s.c};
  const Ahead<T> grad_below{last ? nullptr : grad + (at + s.w) * s.d, nullptr, s.d};
  depthwise_positions(s, w, three_rows(s, x, line), column, count, scratch.depthwise);
  const Ahead<T> nothing{nullptr, nullptr, 0};
  const Onto pw{nullptr, false, w.b_pw}, attention{nullptr, false, w.b_a};
  const Matrix depthwise{scratch.depthwise, w.c}, values{scratch.y, w.d};
  const Matrix grad_s{scratch.grad_s, w.d}, grad_y{scratch.grad_y, w.d};
  pointwise(count, vecs, s.c, depthwise, {w.pw, w.d}, scratch.pairs, scratch.y, w.d, pw, x_below);
  pointwise(count, vecs, s.d, values, {w.a, w.d}, scratch.pairs, scratch.grad_s, w.d, attention, grad_below);
  gate_backward(s, w, scratch, count, grad + at * s.d);
  pointwise(count, vecs, s.d, grad_s, {w.a_rows, w.d}, scratch.pairs, scratch.grad_y, w.d, {nullptr, true}, nothing);
  pointwise(count, w.c / kLanes, s.d, grad_y, {w.pw_rows, w.c}, scratch.pairs, scratch.row(y) + (column + 1) * w.c, w.c,
            {nullptr, false}, nothing);
  if (!sums) return;
  add_positions(scratch.grad_s, count, w.d, sums->b_a);
  add_positions(scratch.grad_y, count, w.d, sums->b_pw);
  if (in_pairs<T>) {
    join_rows(scratch.grad_s, count, w.d);
    join_rows(scratch.grad_y, count, w.d);
    join_rows(scratch.y, count, w.d);
    join_rows(scratch.depthwise, count, w.c);
    outer_product<Halves>((count + 1) / 2, grad_s, w.d, values, w.d, sums->w_a, w.d, true);
    outer_product<Halves>((count + 1) / 2, grad_y, w.d, depthwise, w.c, sums->w_pw, w.c, true);
  } else {
    outer_product(count, grad_s, w.d, values, w.d, sums->w_a, w.d, true);
    outer_product(count, grad_y, w.d, depthwise, w.c, sums->w_pw, w.c, true);
  }
}

// A vector of channels of some positions: the gradient of x there, and what the depthwise weights' have of it. Both
// take the same nine gradients.
template <class T, class Lanes>
inline void depthwise_backward(const DwpwAttentionShape& s, const PackedWeights& w, const float* const* rows, Index c,
                               Index column, Index count, const T* x, T* grad_x, float* sums, Lanes lanes) {
  Vec taps[9], added[10] = {};
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) taps[k] = load(w.taps + k * w.c + c, AllLanes{});
  for (Index i = column; i < column + count; ++i) {
    const Vec value = load(x + i * s.c + c, lanes);
    Vec parts[3] = {};
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k) {
        // Tap (r, k) leads from here to the output r - 1 rows up and k - 1 columns to the left.
        const Vec grad = load(rows[2 - r] + (i + 2 - k) * w.c + c, AllLanes{});
        parts[k] += taps[3 * r + k] * grad;
        added[3 * r + k] += value * grad;
        if (r == 1 && k == 1) added[9] += grad;
      }
    }
    if (grad_x) store(grad_x + i * s.c + c, parts[0] + parts[1] + parts[2], lanes);
  }
#pragma GCC unroll 10
  for (int k = 0; k < 10; ++k) {
    float* sum = sums + k * w.c + c;
    store(sum, load(sum, AllLanes{}) + added[k], AllLanes{});
  }
}

template <class T>
void bwd_strip_nhwc(const DwpwAttentionBwd& a, const PackedWeights& w, const NhwcBwdScratch& scratch,
                    const NhwcSums& sums, Index image, Index first) {
  const DwpwAttentionShape& s = a.shape;
  const Index end = min_of(first + s.rows, s.h);
  for (Index r = 0; r < 3; ++r) {
    fill_zero(scratch.row(r), w.c);
    fill_zero(scratch.row(r) + (s.w + 1) * w.c, w.c);
  }
  // The rows on either side of the strip count for x and for the depthwise weights; they are computed again.
  for (Index row = first - 1; row <= end; ++row) {
    const bool inside = row >= 0 && row < s.h;
    if (!inside) fill_zero(scratch.row(row), scratch.line);
    for (Index column = 0; inside && column < s.w; column += kBwdPositions) {
      bwd_part<T>(a, w, scratch, a.partial && row >= first && row < end ? &sums : nullptr, image * s.h + row, column,
                  min_of(kBwdPositions, s.w - column));
    }
    if (row <= first) continue;
    const float* rows[3] = {scratch.row(row - 2), scratch.row(row - 1), scratch.row(row)};
    const Index at = (image * s.h + row - 1) * s.w * s.c;
    const T* x = static_cast<const T*>(a.x) + at;
    T* grad_x = a.grad_x ? static_cast<T*>(a.grad_x) + at : nullptr;
    for (Index column = 0; column < s.w; column += kBwdPositions) {
      const Index count = min_of(kBwdPositions, s.w - column);
      for (Index c = 0; c < s.c; c += kLanes) {
        if (s.c - c >= kLanes) {
          depthwise_backward(s, w, rows, c, column, count, x, grad_x, sums.w_dw, AllLanes{});
        } else {
          depthwise_backward(s, w, rows, c, column, count, x, grad_x, sums.w_dw, SomeLanes{int(s.c - c)});
        }
      }
    }
  }
}

inline void give_weight_gradients_nhwc(const DwpwAttentionBwd& a, const PackedWeights& w, Index strip, Index strips) {
  const DwpwAttentionShape& s = a.shape;
  add_strips(a.partial, strip, strips);
  Workspace workspace{a.partial};
  const NhwcSums sums(workspace, w);
  copy_rows(sums.w_pw, w.c, s.d, s.c, a.grad_w_pw);
  copy_rows(sums.w_a, w.d, s.d, s.d, a.grad_w_a);
  copy_rows(sums.b_pw, 1, s.d, 1, a.grad_b_pw);
  copy_rows(sums.b_a, 1, s.d, 1, a.grad_b_a);
  copy_rows(sums.w_dw + 9 * w.c, 1, s.c, 1, a.grad_b_dw);
  for (Index c = 0; c < s.c; ++c) {
    for (int k = 0; k < 9; ++k) a.grad_w_dw[c * 9 + k] = sums.w_dw[k * w.c + c];
  }
}

template <class T>
void bwd_nhwc(const DwpwAttentionBwd& a) {
  const DwpwAttentionShape& s = a.shape;
  const DwpwAttentionWorkspace needs = dwpw_attention_bwd_workspace(s);
  Workspace shared{a.scratch + s.threads * needs.thread};
  const PackedWeights w(shared, s, true);
  w.fill(s, a.weights);
  if (in_pairs<T>) w.join_pairs(s);
  const Index strips = s.rows ? ceil_div(s.h, s.rows) : 0, items = s.n * strips;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic) if (items > 1)
  for (Index item = 0; item < items; ++item) {
    Workspace workspace{a.scratch + omp_get_thread_num() * needs.thread};
    const NhwcBwdScratch scratch(workspace, s, w);
    const NhwcSums unwanted(workspace, w);
    Workspace strip{a.partial ? a.partial + item * needs.strip : nullptr};
    const NhwcSums sums(strip, w);
    bwd_strip_nhwc<T>(a, w, scratch, a.partial ? sums : unwanted, item / strips, item % strips * s.rows);
  }
  if (a.partial) give_weight_gradients_nhwc(a, w, needs.strip, items);
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
