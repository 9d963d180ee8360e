#pragma once

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

template <int Rows, int Vecs>
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
      const Vec factor = in_register(splat(a[i * a_stride + l]));
#pragma GCC unroll 4
      for (int j = 0; j < Vecs; ++j) sums[i][j] += factor * row[j];
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
inline void gemm(std::int64_t m, std::int64_t vecs, std::int64_t k, Matrix a, Matrix b, float* out,
                 std::int64_t out_stride, Onto onto) {
  for_blocks(m, vecs, [&](auto rows, std::int64_t i, auto width, std::int64_t j) {
    const std::int64_t column = j * kLanes;
    const Onto here{onto.bias ? onto.bias + i : nullptr, onto.out, onto.columns ? onto.columns + column : nullptr};
    gemm_block<rows.value, width.value>(k, a.values + i * a.stride, a.stride, b.values + column, b.stride,
                                        out + i * out_stride + column, out_stride, here);
  });
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
