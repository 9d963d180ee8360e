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

constexpr std::int64_t kPositions = 16;  // whole blocks of rows in gemm()

// The weights as the products take them, channels out side by side and padded to whole vectors.
struct PackedWeights {
  float *taps, *b_dw;         // [9, C], [C]
  float *pw, *b_pw, *a, *b_a;  // [C, D], [D], [D, D], [D]
  std::int64_t c, d;          // padded

  PackedWeights(Workspace& workspace, const DwpwAttentionShape& s)
      : c((s.c + kLanes - 1) / kLanes * kLanes), d((s.d + kLanes - 1) / kLanes * kLanes) {
    taps = workspace.take(9 * c);
    b_dw = workspace.take(c);
    pw = workspace.take(s.c * d);
    b_pw = workspace.take(d);
    a = workspace.take(s.d * d);
    b_a = workspace.take(d);
  }

  // to[column][row] = from[row][column], zeros behind the rows.
  static void transpose_weights(const float* from, std::int64_t rows, std::int64_t columns, float* to,
                                std::int64_t stride) {
    for (std::int64_t j = 0; j < columns; ++j) {
      for (std::int64_t i = 0; i < stride; ++i) to[j * stride + i] = i < rows && from ? from[i * columns + j] : 0;
    }
  }

  void fill(const DwpwAttentionShape& s, const DwpwAttentionWeights& w) const {
    transpose_weights(w.w_dw, s.c, 9, taps, c);
    transpose_weights(w.b_dw, s.c, 1, b_dw, c);
    transpose_weights(w.w_pw, s.d, s.c, pw, d);
    transpose_weights(w.b_pw, s.d, 1, b_pw, d);
    transpose_weights(w.w_a, s.d, s.d, a, d);
    transpose_weights(w.b_a, s.d, 1, b_a, d);
  }
};

struct Positions {
  float *depthwise, *y, *gate;  // [positions, C], two of [positions, D]
  Positions(Workspace& workspace, const PackedWeights& w)
      : depthwise(workspace.take(kPositions * w.c)),
        y(workspace.take(kPositions * w.d)),
        gate(workspace.take(kPositions * w.d)) {}
};

// Three rows of the map; one outside of it is null.
template <class T>
struct ThreeRows {
  const T* row[3];
};

// `count` positions of a row from `column` on: [count, padded C].
template <class T>
inline void depthwise_positions(const DwpwAttentionShape& s, const PackedWeights& w, const ThreeRows<T>& rows,
                                std::int64_t column, std::int64_t count, float* out) {
  const bool rows_inside = rows.row[0] && rows.row[1] && rows.row[2];
  for (std::int64_t c = 0; c < s.c; c += kLanes) {
    const SomeLanes some{int(s.c - c < kLanes ? s.c - c : kLanes)};
    const bool whole = rows_inside && some.count == kLanes;
    Vec taps[9];
    for (int k = 0; k < 9; ++k) taps[k] = load(w.taps + k * w.c + c, AllLanes{});
    const Vec bias = load(w.b_dw + c, AllLanes{});
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t x = column + i;
      Vec sums[3] = {bias, Vec{}, Vec{}};
      if (whole && x > 0 && x + 1 < s.w) {
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
          for (int k = 0; k < 3; ++k) {
            sums[r] += taps[3 * r + k] * load(rows.row[r] + (x + k - 1) * s.c + c, AllLanes{});
          }
        }
      } else {
        for (int r = 0; r < 3; ++r) {
          for (std::int64_t k = 0; k < 3 && rows.row[r]; ++k) {
            const std::int64_t at = x + k - 1;
            if (at >= 0 && at < s.w) sums[r] += taps[3 * r + k] * load(rows.row[r] + at * s.c + c, some);
          }
        }
      }
      store(out + i * w.c + c, sums[0] + sums[1] + sums[2], AllLanes{});
    }
  }
}

template <class T, class Lanes>
inline void gate_vector(const float* y, const float* gate, const T* residual, T* to, Lanes lanes) {
  Vec value = load(y, AllLanes{}) / (splat(1) + exp(-load(gate, AllLanes{})));
  if (residual) value += load(residual, lanes);
  store(to, value, lanes);
}

template <class T>
void fwd_nhwc(const DwpwAttentionFwd& a) {
  const DwpwAttentionShape& s = a.shape;
  const DwpwAttentionWorkspace needs = dwpw_attention_fwd_workspace(s);
  Workspace shared{a.scratch + s.threads * needs.thread};
  const PackedWeights w(shared, s);
  w.fill(s, a.weights);
  const std::int64_t parts = (s.w + kPositions - 1) / kPositions;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (std::int64_t line = 0; line < s.n * s.h; ++line) {
    Workspace workspace{a.scratch + omp_get_thread_num() * needs.thread};
    const Positions p(workspace, w);
    const std::int64_t y = line % s.h, size = s.w * s.c;
    const T* x = static_cast<const T*>(a.x) + line * size;
    const ThreeRows<T> rows{{y > 0 ? x - size : nullptr, x, y + 1 < s.h ? x + size : nullptr}};
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t column = part * s.w / parts, count = (part + 1) * s.w / parts - column;
      depthwise_positions(s, w, rows, column, count, p.depthwise);
      const std::int64_t vecs = w.d / kLanes;
      gemm(count, vecs, s.c, {p.depthwise, w.c}, {w.pw, w.d}, p.y, w.d, {nullptr, false, w.b_pw});
      gemm(count, vecs, s.d, {p.y, w.d}, {w.a, w.d}, p.gate, w.d, {nullptr, false, w.b_a});
      T* to = static_cast<T*>(a.y) + (line * s.w + column) * s.d;
      const T* residual = a.residual ? static_cast<const T*>(a.residual) + (line * s.w + column) * s.d : nullptr;
      for (std::int64_t i = 0; i < count; ++i) {
        const float *values = p.y + i * w.d, *gate = p.gate + i * w.d;
        std::int64_t d = 0;
        for (; d + kLanes <= s.d; d += kLanes) {
          gate_vector(values + d, gate + d, residual ? residual + i * s.d + d : nullptr, to + i * s.d + d, AllLanes{});
        }
        if (d < s.d) {
          const SomeLanes some{int(s.d - d)};
          gate_vector(values + d, gate + d, residual ? residual + i * s.d + d : nullptr, to + i * s.d + d, some);
        }
      }
    }
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
