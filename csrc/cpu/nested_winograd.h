#pragma once

#include "cpu/winograd.h"

// One dimension of a 9-tap correlation by nested Winograd: the taps are three groups of three, F(3, 3) runs inside a
// group and F(4, 3) over the groups, so 12 outputs of 20 inputs take 30 products instead of 108. (Nesting: Jiang et
// al., "Fast and efficient convolution with large kernels by nested Winograd", 2022.)
//
// y[3t + u] = sum_j sum_i w[3j + i] x[3(t + j) + u + i]: the inner transform turns inputs 3s..3s+4 into 5 values and a
// group of taps into 5, and what is left for each of the 5 is a correlation with 3 taps over s.
//
// Points: 0, +-3/4, 2, infinity inside and those of f43 outside. Of a few dozen small fractions that were
// tried these give nearly the least error in fp32, about 1e-5 of the output's rms in two dimensions.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

constexpr int kTaps = 9, kNestedTile = 12, kReach = kNestedTile + kTaps - 1, kPoints = 30;

namespace inner {
constexpr float kA = 0.75f, kB = 2, kA2 = kA * kA, kB2 = kB * kB;
}

// Inputs x[0..19] -> 30 values, point (p, q) at 6p + q.
inline void transform_input(const Vec (&x)[kReach], Vec (&out)[kPoints]) {
  Vec level[5][6];
#pragma GCC unroll 6
  for (int s = 0; s < 6; ++s) {
    const Vec* v = x + 3 * s;
    const Vec odd = v[3] - inner::kA2 * v[1], c = v[3] - inner::kB * v[2], d = inner::kA * (v[2] - inner::kB * v[1]);
    level[0][s] = odd - inner::kB * (v[2] - inner::kA2 * v[0]);
    level[1][s] = c + d;
    level[2][s] = c - d;
    level[3][s] = odd;
    level[4][s] = v[4] - inner::kA2 * v[2] - inner::kB * odd;
  }
#pragma GCC unroll 5
  for (int p = 0; p < 5; ++p) f43::transform_input(level[p], out + 6 * p);
}

// 30 sums of products -> outputs y[0..11].
inline void transform_output(const Vec (&z)[kPoints], Vec (&y)[kNestedTile]) {
  Vec level[4][5];
#pragma GCC unroll 5
  for (int p = 0; p < 5; ++p) {
    Vec group[4];
    f43::transform_output(z + 6 * p, group);
    for (int t = 0; t < 4; ++t) level[t][p] = group[t];
  }
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const Vec* v = level[t];
    const Vec sum = v[1] + v[2], difference = v[1] - v[2];
    y[3 * t] = v[0] + sum + v[3];
    y[3 * t + 1] = inner::kA * difference + inner::kB * v[3];
    y[3 * t + 2] = inner::kA2 * sum + inner::kB2 * v[3] + v[4];
  }
}

// The transpose of transform_output(), for gradients: 12 values -> 30.
inline void expand_output(const Vec (&y)[kNestedTile], Vec (&z)[kPoints]) {
  Vec level[4][5];
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const Vec* v = y + 3 * t;
    const Vec even = v[0] + inner::kA2 * v[2], odd = inner::kA * v[1];
    level[t][0] = v[0];
    level[t][1] = even + odd;
    level[t][2] = even - odd;
    level[t][3] = v[0] + inner::kB * v[1] + inner::kB2 * v[2];
    level[t][4] = v[2];
  }
#pragma GCC unroll 5
  for (int p = 0; p < 5; ++p) {
    const Vec v[4] = {level[0][p], level[1][p], level[2][p], level[3][p]};
    f43::expand_output(v, z + 6 * p);
  }
}

// Taps -> points: kWeights[6p + q][3j + i] = inner[p][i] * outer[q][j].
struct WeightMatrix {
  float values[kPoints][kTaps];
};

constexpr WeightMatrix weight_matrix() {
  constexpr double in[4] = {0, inner::kA, -inner::kA, inner::kB};
  WeightMatrix m{};
  for (int p = 0; p < 5; ++p) {
    double inside = 1;  // one over the product of a finite point's distances to the others
    for (int other = 0; other < 4 && p < 4; ++other) inside /= other == p ? 1 : in[p] - in[other];
    for (int i = 0; i < 3; ++i) {
      const double tap = p < 4 ? inside : i == 2;
      for (int q = 0; q < 6; ++q) {
        for (int j = 0; j < 3; ++j) m.values[6 * p + q][3 * j + i] = float(tap * f43::kWeights.values[q][j]);
      }
      inside *= p < 4 ? in[p] : 1;
    }
  }
  return m;
}

constexpr WeightMatrix kWeights = weight_matrix();

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
