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
// Of 16 registers. As many rows as there are: sums wait for each other's latency with fewer, and a step loads a vector
// for every row.
constexpr int kMaxVecs = 2;
constexpr int rows_for(int) { return 6; }
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

// What is multiplied: numbers in fp32, or two in bf16 in the place of one, where the CPU has an instruction for them.
// Sums are fp32.
struct Singles {
  using Number = float;
  static constexpr std::int64_t kCount = 1;
  static Vec factor(const float* at) { return splat(*at); }
  static Vec add(Vec sum, Vec factor, Vec row) { return sum + factor * row; }
};
#if defined(__AVX512BF16__)
struct Pairs {
  using Number = bf16;
  static constexpr std::int64_t kCount = 2;
  static Vec factor(const float* at) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, at, sizeof bits);
    return (Vec)(bits + VecU32{});
  }
  static Vec add(Vec sum, Vec factor, Vec row) { return _mm512_dpbf16_ps(sum, (__m512bh)factor, (__m512bh)row); }
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
inline void with_count(std::int64_t count, Block block) {
  if (count == Most) {
    block(Count<Most>{});
  } else if constexpr (Most > 1) {
    with_count<Most - 1>(count, block);
  }
}

// Cuts [m, vecs] into blocks that fit the registers: block(rows, first row, vectors, first vector), as Counts.
template <class Block>
inline void for_blocks(std::int64_t m, std::int64_t vecs, Block block) {
  for (std::int64_t j = 0; j < vecs; j += kMaxVecs) {
    with_count<kMaxVecs>(lesser(vecs - j, kMaxVecs), [&](auto width) {
      constexpr int kRows = rows_for(width.value);
      // Blocks of nearly equal height: a last one of few rows would wait for its loads.
      for (std::int64_t i = 0, blocks = (m + kRows - 1) / kRows; blocks > 0; --blocks) {
        const std::int64_t height = (m - i + blocks - 1) / blocks;
        with_count<kRows>(height, [&](auto rows) { block(rows, i, width, j); });
        i += height;
      }
    });
  }
}

// out = a b + onto, for `a` [m, k], `b` [k, vecs * kLanes] and `out` [m, vecs * kLanes], all rows dense.
template <class Factors = Singles, class Beside = Nothing>
inline void gemm(std::int64_t m, std::int64_t vecs, std::int64_t k, Matrix a, Matrix b, float* out,
                 std::int64_t out_stride, Onto onto, Beside beside = {}) {
  for_blocks(m, vecs, [&](auto rows, std::int64_t i, auto width, std::int64_t j) {
    const std::int64_t column = j * kLanes;
    const Onto here{onto.bias ? onto.bias + i : nullptr, onto.out, onto.columns ? onto.columns + column : nullptr};
    gemm_block<Factors, rows.value, width.value>(k, a.values + i * a.stride, a.stride, b.values + column, b.stride,
                                                 out + i * out_stride + column, out_stride, here, i, beside);
  });
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
