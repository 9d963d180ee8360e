#pragma once

#include "cpu/vec.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

struct Matrix {
  const float* values;
  Index stride;  // of a row
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
// With 16 registers, as many rows as fit: fewer independent sums do not hide the latency of an FMA, and each step loads
// a vector for every row.
constexpr int kMaxVecs = 2;
constexpr int rows_for(int) { return 6; }
#endif

// Keeps a factor of many products in a register: read from memory again by each product, it takes a load of each.
inline Vec in_register(Vec value) {
#if defined(__AVX512F__)
  asm("" : "+v"(value));
#endif
  return value;
}

// What a product does beside each of its steps: by default nothing. It is given the block's first row, its rows, and
// the step. A prefetch here and there finds its buffers free, where many in a row would wait for them.
struct Nothing {
  void operator()(Index, int, Index) const {}
};

// What is multiplied: numbers in fp32, or two in bf16 in the place of one, where the CPU has an instruction for them.
// Sums are fp32.
struct Fp32Factors {
  using Number = float;
  static constexpr Index kCount = 1;
  static Vec factor(const float* at) { return splat(*at); }
  static Vec add(Vec sum, Vec factor, Vec row) { return sum + factor * row; }
};
#if defined(__AVX512BF16__)
struct Bf16Factors {
  using Number = bf16;
  static constexpr Index kCount = 2;
  static Vec factor(const float* at) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, at, sizeof bits);
    return (Vec)(bits + VecU32{});
  }
  static Vec add(Vec sum, Vec factor, Vec row) { return _mm512_dpbf16_ps(sum, (__m512bh)factor, (__m512bh)row); }
};
// A factor in bfloat16: as to_bf16(), except that numbers below 2^-126 become 0, as the products take them.
inline VecU16 to_bf16_factor(Vec value) { return (VecU16)_mm512_cvtneps_pbh(value); }
#else
inline VecU16 to_bf16_factor(Vec value) { return to_bf16(value); }
#endif

template <class Factors, int Rows, int Vecs, class Beside>
inline void gemm_block(Index k, const float* a, Index a_stride, const float* b, Index b_stride, float* out,
                       Index out_stride, Onto onto, Index first, Beside beside) {
  Vec sums[Rows][Vecs];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) {
      const float* start = onto.out ? out + i * out_stride + j * kLanes : onto.columns + j * kLanes;
      sums[i][j] = onto.out || onto.columns ? load(start, AllLanes{}) : splat(onto.bias ? onto.bias[i] : 0.0f);
    }
  }
  for (Index l = 0; l < k; ++l) {
    beside(first, Rows, l);
    Vec row[Vecs];
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) row[j] = load(b + l * b_stride + j * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec factor = in_register(Factors::factor(a + i * a_stride + l));
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

template <int N>
struct Count {
  static constexpr int value = N;
};

// block(Count) of `count`, at most `Most`.
template <int Most, class Block>
inline void with_count(Index count, Block block) {
  if (count == Most) {
    block(Count<Most>{});
  } else if constexpr (Most > 1) {
    with_count<Most - 1>(count, block);
  }
}

// Cuts [m, vecs] into blocks that fit the registers: block(rows, first row, vectors, first vector), as Counts.
template <class Block>
inline void for_blocks(Index m, Index vecs, Block block) {
  for (Index j = 0; j < vecs; j += kMaxVecs) {
    with_count<kMaxVecs>(min_of(vecs - j, kMaxVecs), [&](auto width) {
      constexpr int kRows = rows_for(width.value);
      // Blocks of nearly equal height: a last one of few rows would wait for its loads.
      for (Index i = 0, blocks = ceil_div(m, kRows); blocks > 0; --blocks) {
        const Index height = ceil_div(m - i, blocks);
        with_count<kRows>(height, [&](auto rows) { block(rows, i, width, j); });
        i += height;
      }
    });
  }
}

// out = a b + onto, for `a` [m, k], `b` [k, vecs * kLanes] and `out` [m, vecs * kLanes], all rows dense.
template <class Factors = Fp32Factors, class Beside = Nothing>
inline void gemm(Index m, Index vecs, Index k, Matrix a, Matrix b, float* out, Index out_stride, Onto onto,
                 Beside beside = {}) {
  for_blocks(m, vecs, [&](auto rows, Index i, auto width, Index j) {
    const Index column = j * kLanes;
    const Onto here{onto.bias ? onto.bias + i : nullptr, onto.out, onto.columns ? onto.columns + column : nullptr};
    gemm_block<Factors, rows.value, width.value>(k, a.values + i * a.stride, a.stride, b.values + column, b.stride,
                                                 out + i * out_stride + column, out_stride, here, i, beside);
  });
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
