#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "cpu/vec.h"

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
    __builtin_memcpy(&bits, at, sizeof(bits));
    return (Vec)(bits + VecU32{});
  }
  static Vec add(Vec sum, Vec factor, Vec row) {
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)factor, (__m512bh)row);
  }
};
#endif

template <class Product, int Rows, int Vecs>
inline void gemm_block(std::int64_t k, const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                       float* out, std::int64_t out_stride, Onto onto) {
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
    Vec row[Vecs];
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) row[j] = load(b + l * b_stride + j * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec factor = in_register(Product::factor(a + i * a_stride + l));
#pragma GCC unroll 4
      for (int j = 0; j < Vecs; ++j) sums[i][j] = Product::add(sums[i][j], factor, row[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) store(out + i * out_stride + j * kLanes, sums[i][j], AllLanes{});
  }
}

// gemm_block of `rows` rows, at most `Rows`.
template <class Product, int Rows, int Vecs, class... Arguments>
inline void gemm_rows(std::int64_t rows, Arguments... arguments) {
  if (rows == Rows) {
    gemm_block<Product, Rows, Vecs>(arguments...);
  } else if constexpr (Rows > 1) {
    gemm_rows<Product, Rows - 1, Vecs>(rows, arguments...);
  }
}

template <class Product, int Vecs>
void gemm_columns(std::int64_t m, std::int64_t k, Matrix a, const float* b, std::int64_t b_stride, float* out,
                  std::int64_t out_stride, Onto onto) {
  constexpr int kRows = rows_for(Vecs);
  // Blocks of nearly equal height: a last one of few rows would wait for its loads.
  for (std::int64_t i = 0, blocks = (m + kRows - 1) / kRows; blocks > 0; --blocks) {
    const std::int64_t rows = (m - i + blocks - 1) / blocks;
    gemm_rows<Product, kRows, Vecs>(rows, k, a.values + i * a.stride, a.stride, b, b_stride, out + i * out_stride,
                                    out_stride, Onto{onto.bias ? onto.bias + i : nullptr, onto.out, onto.columns});
    i += rows;
  }
}

// out = a b + onto, for `a` [m, k], `b` [k, vecs * kLanes] and `out` [m, vecs * kLanes], all rows dense.
template <class Product = Singles>
inline void gemm(std::int64_t m, std::int64_t vecs, std::int64_t k, Matrix a, Matrix b, float* out,
                 std::int64_t out_stride, Onto onto) {
  while (vecs > 0) {
    const std::int64_t block = vecs < kMaxVecs ? vecs : kMaxVecs;
    switch (block) {
      case 1: gemm_columns<Product, 1>(m, k, a, b.values, b.stride, out, out_stride, onto); break;
      case 2: gemm_columns<Product, 2>(m, k, a, b.values, b.stride, out, out_stride, onto); break;
#if defined(__AVX512F__)
      case 3: gemm_columns<Product, 3>(m, k, a, b.values, b.stride, out, out_stride, onto); break;
      case 4: gemm_columns<Product, 4>(m, k, a, b.values, b.stride, out, out_stride, onto); break;
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
