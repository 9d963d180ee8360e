#pragma once

#include "cpu/vec.h"

// The weights' gradients: each strip of a map adds up its own, and these are added in the strips' order.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline void fill_zero(float* values, Index count) {
  for (Index i = 0; i < count; ++i) values[i] = 0;
}

using VecF64 = double __attribute__((vector_size(kLanes * 8)));

// The strips' sums, added in their order, into the first one's place.
inline void add_strips(float* partial, Index strip, Index strips) {
  for (Index i = 0; i < strip; i += kLanes) {
    VecF64 total{};
    for (Index k = 0; k < strips; ++k) {
      total += __builtin_convertvector(load(partial + k * strip + i, AllLanes{}), VecF64);
    }
    store(partial + i, __builtin_convertvector(total, Vec), AllLanes{});
  }
}

inline void copy_rows(const float* from, Index stride, Index rows, Index columns, float* to) {
  for (Index i = 0; i < rows; ++i) {
    __builtin_memcpy(to + i * columns, from + i * stride, columns * sizeof(float));
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
