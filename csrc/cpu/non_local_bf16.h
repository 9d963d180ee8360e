#pragma once

#if defined(__AVX512BF16__)

#include <immintrin.h>

#include "cpu/non_local_operands.h"

// Fp32Operands for pairs of bf16: an instruction multiplies a lane's two values and adds both products to its fp32 sum,
// so that a product takes half as many. A missing second value is zero.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

struct Bf16Operands {
  static constexpr int kDepth = 2;
  using Precision = Coarse;

  static __m512i bits_of(Vec elements) { return (__m512i)elements; }

  static Vec multiplied(Vec sum, const float* left, Vec right) {
    int pair;
    __builtin_memcpy(&pair, left, sizeof pair);
    return multiplied(sum, _mm512_set1_epi32(pair), bits_of(right));
  }
  static Vec multiplied(Vec sum, __m512i left, __m512i right) {
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
  }

  // The powers' upper halves, side by side: cut off, not rounded, as the sum that divides them is of the same.
  static Vec packed(const Vec* rows) {
    return (Vec)_mm512_permutex2var_epi16(bits_of(rows[0]), every_other(1), bits_of(rows[1]));
  }
  static Vec added(Vec total, Vec elements) {
    return multiplied(total, _mm512_set1_epi32(0x3f803f80), bits_of(elements));  // twice 1.0
  }

  // Division in the exponent avoids another rounding of the incoming gradient to bf16.
  static constexpr bool kDivisorInExponent = true;

  template <int M>
  static void put(const Vec (&rows)[M][2], float* elements, float* by_lanes) {
#pragma GCC unroll 2
    for (int m = 0; m < M; m += 2) {
      const __m512i one = rounded(rows[m][0], rows[m][1]), other = rounded(rows[m + 1][0], rows[m + 1][1]);
      _mm512_storeu_si512(elements + m / 2 * kTileLanes, interleaved(one, other, 0));
      _mm512_storeu_si512(elements + m / 2 * kTileLanes + kLanes, interleaved(one, other, 1));
      if (!by_lanes) continue;
      _mm512_storeu_si512(by_lanes + m * kTileLanes / 2, one);
      _mm512_storeu_si512(by_lanes + (m + 1) * kTileLanes / 2, other);
    }
  }
  static StridedMatrix along_lanes(const float*, const float* by_lanes) { return {by_lanes, kTileLanes / 2, 1}; }
  // The lane that fills the last pair up has no key, and its value need not be finite.
  static void end_at(Index lanes, Index rows, float* by_lanes) {
    if (lanes % 2 == 0) return;
    const std::uint16_t zero = 0;
    for (Index r = 0; r < rows; ++r)
      __builtin_memcpy((bf16*)(by_lanes + r * kTileLanes / 2) + lanes, &zero, sizeof zero);
  }

  // Pairs along the channels of each position, [position][wide / 2], and along the positions for each channel,
  // [position / 2][wide]; where both are wanted of `count` positions, the latter lie behind the former.
  static StridedMatrix by_channels(const float* rows, Index wide) { return {rows, wide / 2, 1}; }
  static StridedMatrix by_positions(const float* rows, Index wide) { return {rows, 1, wide}; }

  static const float* second(const float* rows, Index count, Index wide) { return rows + count * wide / 2; }

  static void put_both(const bf16* from, Index stride, const Positions& positions, Index padded, Index d, Index wide,
                       float* rows) {
    put_by_channels(from, stride, positions, padded, d, wide, rows);
    put_by_positions(from, stride, positions, padded, d, wide, rows + padded * wide / 2);
  }

  static void put_by_channels(const bf16* from, Index stride, const Positions& positions, Index padded, Index d,
                              Index wide, float* rows) {
    for (Index i = 0; i < padded; ++i, rows += wide / 2)
      for (Index c = 0; c < wide; c += 16)
        _mm256_storeu_si256((__m256i*)(rows + c / 2), words(from, stride, positions, i, c, d));
  }
  static void put_by_positions(const bf16* from, Index stride, const Positions& positions, Index padded, Index d,
                               Index wide, float* rows) {
    for (Index i = 0; i < padded; i += 2, rows += wide)
      for (Index c = 0; c < wide; c += 16) {
        const VecU32 first = __builtin_convertvector((VecU16)words(from, stride, positions, i, c, d), VecU32);
        const VecU32 second = __builtin_convertvector((VecU16)words(from, stride, positions, i + 1, c, d), VecU32);
        store(rows + c, (Vec)(first | second << 16), AllLanes{});
      }
  }

  static void put_in_lanes(const bf16* from, Index stride, const Positions& positions, Index d, float* to) {
    for (Index i = 0; i < kTileLanes; ++i) {
      const bf16* row = i < positions.count ? from + positions.at[i] * stride : nullptr;
      for (Index c = 0; c < d; c += 2) {
        const std::uint16_t pair[2] = {row ? row[c].bits : std::uint16_t(0),
                                       row && c + 1 < d ? row[c + 1].bits : std::uint16_t(0)};
        __builtin_memcpy(to + c / 2 * kTileLanes + i, pair, sizeof pair);
      }
    }
  }

 private:
  static VecU32 lane_numbers() { return VecU32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }

  // Words 2 i + odd of one vector and of another, in turn.
  static __m512i every_other(int odd) {
    const VecU32 from = 2 * lane_numbers() + odd;
    return (__m512i)(from | (from + 32) << 16);
  }
  // Two vectors of one row, in the order of their lanes.
  static __m512i rounded(Vec first, Vec second) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first); }
  // Interleaves the first or second halves of two rows.
  static __m512i interleaved(__m512i one, __m512i other, int half) {
    const VecU32 from = lane_numbers() + 16 * half;
    return _mm512_permutex2var_epi16(one, (__m512i)(from | (from + 32) << 16), other);
  }
  // Channels c to c + 15 of a position; zeros beyond the last of either.
  static __m256i words(const bf16* from, Index stride, const Positions& positions, Index i, Index c, Index d) {
    if (i >= positions.count || c >= d) return _mm256_setzero_si256();
    const bf16* at = from + positions.at[i] * stride + c;
    if (d - c >= 16) return _mm256_loadu_si256((const __m256i*)at);
    return _mm256_maskz_loadu_epi16(__mmask16((1 << (d - c)) - 1), at);
  }
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA

#endif
