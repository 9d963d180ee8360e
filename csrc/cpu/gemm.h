#pragma once

#include "cpu/vec.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

struct Matrix {
  const float* values;
  std::int64_t stride;  // of a row
};

// What a product is added to: a value a row, a value a column, or what `out` holds; nothing where null or false.
struct Onto {
  const float* bias;
  bool out;
  const float* columns = nullptr;
};

// The widest block of vectors whose accumulators, with the operands, stay in registers.
#if defined(__AVX512F__)
constexpr int kMaxVecs = 4;
constexpr int rows_for(int vecs) { return vecs < 4 ? 8 : 6; }
#else
constexpr int kMaxVecs = 2;
constexpr int rows_for(int) { return 4; }
#endif

// Keeps a factor of many products in a register: read from memory anew by each product, it takes a load of each.
inline Vec in_register(Vec value) {
#if defined(__AVX512F__)
  asm("" : "+v"(value));
#endif
  return value;
}

// What a product does beside each of its steps: by default nothing. It is given the block's first row, its rows, and
// the step. A prefetch here and there finds its buffers free, where many in a row would wait for them.
struct Nothing {
  void operator()(std::int64_t, int, std::int64_t) const {}
};

// What a lane of a factor holds: a number, or two in bfloat16 that meet the two in the other factor's lane.
struct Numbers {
  static Vec add(Vec sum, Vec a, Vec b) { return sum + a * b; }
};
#if defined(__AVX512BF16__)
struct Pairs {
  static Vec add(Vec sum, Vec a, Vec b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};
// A factor in bfloat16: as narrow(), but that numbers below 2^-126 become 0, as the products take them.
inline VecU16 narrow_factor(Vec value) { return (VecU16)_mm512_cvtneps_pbh(value); }
#else
inline VecU16 narrow_factor(Vec value) { return narrow(value); }
#endif

template <class Factors, int Rows, int Vecs, class Beside>
inline void gemm_block(std::int64_t k, const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                       float* out, std::int64_t out_stride, Onto onto, std::int64_t first, Beside beside) {
  Vec sums[Rows][Vecs];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) {
      const float* start = onto.out ? out + i * out_stride + j * kLanes : onto.columns + j * kLanes;
      sums[i][j] = onto.out || onto.columns ? load(start, AllLanes{}) : splat(onto.bias ? onto.bias[i] : 0.0f);
    }
  }
  for (std::int64_t l = 0; l < k; ++l) {
    beside(first, Rows, l);
    Vec row[Vecs];
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) row[j] = load(b + l * b_stride + j * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec factor = in_register(splat(a[i * a_stride + l]));
#pragma GCC unroll 4
      for (int j = 0; j < Vecs; ++j) sums[i][j] = Factors::add(sums[i][j], factor, row[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) store(out + i * out_stride + j * kLanes, sums[i][j], AllLanes{});
  }
}

// gemm_block of `rows` rows, at most `Rows`.
template <class Factors, int Rows, int Vecs, class... Arguments>
inline void gemm_rows(std::int64_t rows, Arguments... arguments) {
  if (rows == Rows) {
    gemm_block<Factors, Rows, Vecs>(arguments...);
  } else if constexpr (Rows > 1) {
    gemm_rows<Factors, Rows - 1, Vecs>(rows, arguments...);
  }
}

template <class Factors, int Vecs, class Beside>
void gemm_columns(std::int64_t m, std::int64_t k, Matrix a, const float* b, std::int64_t b_stride, float* out,
                  std::int64_t out_stride, Onto onto, Beside beside) {
  constexpr int kRows = rows_for(Vecs);
  // Blocks of nearly equal height: a last one of few rows would wait for its loads.
  for (std::int64_t i = 0, blocks = (m + kRows - 1) / kRows; blocks > 0; --blocks) {
    const std::int64_t rows = (m - i + blocks - 1) / blocks;
    gemm_rows<Factors, kRows, Vecs>(rows, k, a.values + i * a.stride, a.stride, b, b_stride, out + i * out_stride,
                                    out_stride, Onto{onto.bias ? onto.bias + i : nullptr, onto.out, onto.columns}, i,
                                    beside);
    i += rows;
  }
}

// out = a b + onto, for `a` [m, k], `b` [k, vecs * kLanes] and `out` [m, vecs * kLanes], all rows dense.
template <class Factors = Numbers, class Beside = Nothing>
inline void gemm(std::int64_t m, std::int64_t vecs, std::int64_t k, Matrix a, Matrix b, float* out,
                 std::int64_t out_stride, Onto onto, Beside beside = {}) {
  while (vecs > 0) {
    const std::int64_t block = vecs < kMaxVecs ? vecs : kMaxVecs;
    switch (block) {
      case 1: gemm_columns<Factors, 1>(m, k, a, b.values, b.stride, out, out_stride, onto, beside); break;
      case 2: gemm_columns<Factors, 2>(m, k, a, b.values, b.stride, out, out_stride, onto, beside); break;
#if defined(__AVX512F__)
      case 3: gemm_columns<Factors, 3>(m, k, a, b.values, b.stride, out, out_stride, onto, beside); break;
      case 4: gemm_columns<Factors, 4>(m, k, a, b.values, b.stride, out, out_stride, onto, beside); break;
#endif
    }
    vecs -= block;
    b.values += block * kLanes;
    out += block * kLanes;
    if (onto.columns) onto.columns += block * kLanes;
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
