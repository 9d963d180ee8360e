#pragma once

#include "cpu/non_local_operands.h"

// The products of non_local, over either kind of operands. Positions or channels lie in vector lanes, and what they
// are multiplied with is taken one by one: any number of channels fits.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

constexpr int kGroup = kLanes == 16 ? 4 : 3;  // vectors side by side: with four rows they fill the registers
static_assert(kTileLanes % (kGroup * kLanes) == 0, "a tile has whole groups");

// sums[row][vector] += the sum over `depth` elements of a[row][k] * b[k][vector].
template <class A, int M, int V>
[[gnu::always_inline]] inline void multiply(const StridedMatrix& a, Index depth, const float* b, Index width,
                                            Vec (&sums)[M][V]) {
  for (Index k = 0; k < depth; ++k) {
    Vec right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load(b + k * width + v * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        sums[m][v] = A::multiplied(sums[m][v], a.values + m * a.row_step + k * a.step, right[v]);
    }
  }
}

template <class A, int M, int V>
inline void product_of_columns(StridedMatrix a, Index rows, Index depth, const float* b, float* out, Index width) {
  for (; rows >= M; rows -= M, a.values += M * a.row_step, out += M * width) {
    Vec sums[M][V] = {};
    multiply<A, M, V>(a, depth, b, width, sums);
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < V; ++v) {
        float* to = out + m * width + v * kLanes;
        store(to, load(to, AllLanes{}) + sums[m][v], AllLanes{});
      }
  }
  if constexpr (M > 1) {
    if (rows) product_of_columns<A, M / 2, V>(a, rows, depth, b, out, width);
  }
}

// out[row][column] += the sum over k of a[row][k] * b[k][column]: in two levels, so that the rounding errors of
// thousands of positions do not pile up. There are `width` columns, whole vectors.
template <class A>
inline void add_product(const StridedMatrix& a, Index rows, Index depth, const float* b, float* out, Index width) {
  Index c = 0;
  for (; c + kGroup * kLanes <= width; c += kGroup * kLanes)
    product_of_columns<A, 4, kGroup>(a, rows, depth, b + c, out + c, width);
  for (; c + 2 * kLanes <= width; c += 2 * kLanes) product_of_columns<A, 4, 2>(a, rows, depth, b + c, out + c, width);
  for (; c < width; c += kLanes) product_of_columns<A, 8, 1>(a, rows, depth, b + c, out + c, width);
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
