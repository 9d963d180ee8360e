#pragma once

#include "cpu/vec.h"

// One dimension of a 3-tap correlation by Winograd's F(4, 3): 4 outputs of 6 inputs take 6 products instead of 12.
// (Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.)
//
// Points: 0, +-3/4, +-3/2, infinity. In fp32 they lose less than the usual 0, +-1, +-2: products of their powers stay
// nearer to 1.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

namespace f43 {

constexpr int kTaps = 3, kTile = 4, kReach = kTile + kTaps - 1, kPoints = kReach;
constexpr float kA = 0.75f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB, kA3 = kA * kA2, kB3 = kB * kB2;

// Inputs v[0..5] -> 6 values.
inline void transform_input(const Vec* v, Vec* to) {
  const Vec even_a = v[4] - kB2 * v[2], odd_a = kA * (v[3] - kB2 * v[1]);
  const Vec even_b = v[4] - kA2 * v[2], odd_b = kB * (v[3] - kA2 * v[1]);
  to[0] = v[4] - (kA2 + kB2) * v[2] + kA2 * kB2 * v[0];
  to[1] = even_a + odd_a;
  to[2] = even_a - odd_a;
  to[3] = even_b + odd_b;
  to[4] = even_b - odd_b;
  to[5] = v[5] - (kA2 + kB2) * v[3] + kA2 * kB2 * v[1];
}

// 6 sums of products -> outputs y[0..3].
inline void transform_output(const Vec* v, Vec* y) {
  const Vec sum_a = v[1] + v[2], sum_b = v[3] + v[4], difference_a = v[1] - v[2], difference_b = v[3] - v[4];
  y[0] = v[0] + sum_a + sum_b;
  y[1] = kA * difference_a + kB * difference_b;
  y[2] = kA2 * sum_a + kB2 * sum_b;
  y[3] = kA3 * difference_a + kB3 * difference_b + v[5];
}

// The transpose of transform_output(), for gradients: 4 values -> 6.
inline void expand_output(const Vec* v, Vec* to) {
  const Vec even_a = v[0] + kA2 * v[2], odd_a = kA * v[1] + kA3 * v[3];
  const Vec even_b = v[0] + kB2 * v[2], odd_b = kB * v[1] + kB3 * v[3];
  to[0] = v[0];
  to[1] = even_a + odd_a;
  to[2] = even_a - odd_a;
  to[3] = even_b + odd_b;
  to[4] = even_b - odd_b;
  to[5] = v[3];
}

// Taps -> points.
struct WeightMatrix {
  float values[kPoints][kTaps];
};

constexpr WeightMatrix weight_matrix() {
  constexpr double points[kPoints - 1] = {0, kA, -kA, kB, -kB};
  WeightMatrix m{};
  for (int p = 0; p < kPoints - 1; ++p) {
    double factor = 1;  // one over the product of its distances to the other finite points
    for (int other = 0; other < kPoints - 1; ++other) factor /= other == p ? 1 : points[p] - points[other];
    for (int k = 0; k < kTaps; ++k, factor *= points[p]) m.values[p][k] = float(factor);
  }
  m.values[kPoints - 1][kTaps - 1] = 1;
  return m;
}

constexpr WeightMatrix kWeights = weight_matrix();

}  // namespace f43
}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
