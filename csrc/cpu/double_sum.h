#pragma once

#include "cpu/vec.h"

// Sums of many products that nearly cancel, a double a lane: exact but for the last rounding to fp32.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

using VecF64 = double __attribute__((vector_size(kLanes * 4)));
using HalfVec = float __attribute__((vector_size(kLanes * 2)));

struct DoubleSum {
  VecF64 halves[2] = {};

  void add_product(Vec a, Vec b) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) halves[i] += half_of(a, i) * half_of(b, i);
  }
  double at(int lane) const { return halves[lane / (kLanes / 2)][lane % (kLanes / 2)]; }

 private:
  static VecF64 half_of(Vec value, int i) {
    HalfVec half;
    __builtin_memcpy(&half, reinterpret_cast<const char*>(&value) + i * sizeof half, sizeof half);
    return __builtin_convertvector(half, VecF64);
  }
};

template <class Lanes>
inline void store(double* to, const DoubleSum& value, Lanes lanes) {
  for (int i = 0; i < lanes.count; ++i) to[i] = value.at(i);
}

template <class Lanes>
inline double sum(const DoubleSum& value, Lanes lanes) {
  double total = 0;
  for (int i = 0; i < lanes.count; ++i) total += value.at(i);
  return total;
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
