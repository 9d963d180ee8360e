#pragma once

#include "cpu/non_local_blocks.h"
#include "cpu/vec_math.h"

// What the products of non_local multiply, in fp32. non_local_bf16.h has the same for pairs of bf16 values; the
// kernels are written once, over either. An element is what one lane of an operand holds: kDepth consecutive values of
// the product's inner axis, in 32 bits whatever they are, and moved as float.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline float value_of(float value) { return value; }
inline float value_of(bf16 value) {
  const std::uint32_t bits = std::uint32_t(value.bits) << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// An operand whose elements are taken one by one.
struct StridedMatrix {
  const float* values;
  Index row_step, step;

  StridedMatrix from(Index row) const { return {values + row * row_step, row_step, step}; }
};

constexpr float kLog2E = 0x1.715476p+0f, kLn2 = 0x1.62e430p-1f;

// (score - reference) / ln 2, the exponent of a power of two. In the forward pass, where a product is not rounded before it
// is added to, only the reference's is, which all keys of a tile have in common: it cancels.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
inline Vec scaled_reference(Vec reference) { return reference * kLog2E; }
inline Vec exponent(Vec score, Vec scaled) { return score * kLog2E - scaled; }
#else
inline Vec scaled_reference(Vec reference) { return reference; }
inline Vec exponent(Vec score, Vec reference) { return (score - reference) * kLog2E; }
#endif

// The same for the backward pass, whose references are of all tiles. The difference comes first: it is exact for the
// largest scores, whose products with 1 / ln 2 would be rounded at their own size.
inline Vec exact_exponent(Vec score, Vec reference) { return (score - reference) * kLog2E; }

constexpr int kRowsAtOnce = int(kNonLocalRowsAtOnce);

inline Index elements_of(Index count, int depth) { return ceil_div(count, depth); }
inline Index filled_up(Index rows) { return elements_of(rows, kRowsAtOnce) * kRowsAtOnce; }

struct Fp32Operands {
  static constexpr int kDepth = 1;
  using Precision = Precise;

  static Vec multiplied(Vec sum, const float* left, Vec right) { return sum + splat(*left) * right; }

  // Rows of powers -> one of elements, and the sum of those.
  static Vec packed(const Vec* rows) { return rows[0]; }
  static Vec added(Vec total, Vec elements) { return total + elements; }

  // As the log of the sum, in the exponent, the softmax's divisor would be too coarse.
  static constexpr bool kDivisorInExponent = false;

  // Vectors of a tile's consecutive rows -> elements along the rows for each lane, and those along the lanes of each
  // row, which are the same.
  template <int M, int V>
  static void put(const Vec (&rows)[M][V], float* elements, float*) {
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store(elements + m * kTileLanes + v * kLanes, rows[m][v], AllLanes{});
  }
  static StridedMatrix along_lanes(const float* elements, const float*) { return {elements, kTileLanes, 1}; }
  static void end_at(Index, Index, float*) {}

  // Elements along the channels of each position, and along the positions for each channel, are the same.
  static StridedMatrix by_channels(const float* rows, Index wide) { return {rows, wide, 1}; }
  static StridedMatrix by_positions(const float* rows, Index wide) { return {rows, 1, wide}; }
  static const float* second(const float* rows, Index, Index) { return rows; }

  // from[position][channel] -> rows[position][wide], as many as `padded`.
  template <class T>
  static void put_both(const T* from, Index stride, const Positions& positions, Index padded, Index d, Index wide,
                       float* rows) {
    for (Index i = 0; i < padded; ++i, rows += wide) {
      const bool present = i < positions.count;
      const T* row = present ? from + positions.at[i] * stride : from;
      Index c = 0;
      for (; present && c + kLanes <= d; c += kLanes) store(rows + c, load(row + c, AllLanes{}), AllLanes{});
      for (; present && c < d; ++c) rows[c] = value_of(row[c]);
      for (; c < wide; ++c) rows[c] = 0;
    }
  }
  template <class T>
  static void put_by_channels(const T* from, Index stride, const Positions& positions, Index padded, Index d,
                              Index wide, float* rows) {
    put_both(from, stride, positions, padded, d, wide, rows);
  }
  template <class T>
  static void put_by_positions(const T* from, Index stride, const Positions& positions, Index padded, Index d,
                               Index wide, float* rows) {
    put_both(from, stride, positions, padded, d, wide, rows);
  }

  // from[position][channel] -> to[channel][lane]; lanes without a position are zero.
  template <class T>
  static void put_in_lanes(const T* from, Index stride, const Positions& positions, Index d, float* to) {
    for (Index i = 0; i < kTileLanes; ++i) {
      const T* row = i < positions.count ? from + positions.at[i] * stride : nullptr;
      for (Index c = 0; c < d; ++c) to[c * kTileLanes + i] = row ? value_of(row[c]) : 0;
    }
  }
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
