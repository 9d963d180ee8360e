#pragma once

#include "cpu/vec.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }

// e^x for |x| <= 87, relative error below 2e-7. NaN stays NaN.
inline Vec exp_within_87(Vec x) {
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. x = n ln 2 + r, |r| <= ln 2 / 2.
  const Vec shift = splat(12582912.0f);
  const Vec shifted = x * 1.44269504f + shift;
  const Vec n = shifted - shift;
  const Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;  // in two parts: exact without fused arithmetic, too
  // Minimax for the relative error, 3e-9, under the series' first two terms.
  Vec p = r * 0x1.6a243ap-10f + 0x1.1239e0p-7f;
  p = p * r + 0x1.5558f2p-5f;
  p = p * r + 0x1.555492p-3f;
  p = p * r + 0x1.fffffcp-2f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return (Vec)((VecU32)p + ((VecU32)shifted << 23));
}

// The same for x <= 88; less than -87 is taken as -87.
inline Vec exp_of_at_most_88(Vec x) {
  const Vec least = splat(-87.0f);
  return exp_within_87(x < least ? least : x);  // a NaN passes the comparison unchanged
}

// Minimax of 2^r over 0 <= r <= 1 for the relative error, of which both keep 2^0 = 1.
struct Precise {  // 1e-8
  static Vec power(Vec r) {
    Vec p = r * 0x1.c54174p-13f + 0x1.46d64ep-10f;
    p = p * r + 0x1.3d0b92p-7f;
    p = p * r + 0x1.c68912p-5f;
    p = p * r + 0x1.ebfd58p-3f;
    p = p * r + 0x1.62e42cp-1f;
    return p * r + 1.0f;
  }
  // The same over -1/2 <= r <= 1/2, 2e-8.
  static Vec centred_power(Vec r) {
    Vec p = r * 0x1.41fbbep-13f + 0x1.5f3e54p-10f;
    p = p * r + 0x1.3b2d4cp-7f;
    p = p * r + 0x1.c6aee8p-5f;
    p = p * r + 0x1.ebfbdcp-3f;
    p = p * r + 0x1.62e430p-1f;
    return p * r + 1.0f;
  }
};
struct Coarse {  // 9e-5, a twentieth of what rounding to bf16 takes
  static Vec power(Vec r) {
    Vec p = r * 0x1.3baaa6p-4f + 0x1.d2378ap-3f;
    p = p * r + 0x1.63e658p-1f;
    return p * r + 1.0f;
  }
};

// 2^x for x < 128; what is below the least normal number may become it. NaN stays NaN.
template <class Precision>
inline Vec exp2_below_128(Vec x) {
#if defined(__AVX512DQ__)
  // The fraction and the scaling are an instruction each: x - floor(x), and times 2^floor(x).
  constexpr int kFloor = 0x9;  // no fractional bits, downwards, no exceptions
  constexpr __mmask16 kAll = 0xffff;  // GCC warns of the forms without a mask
  const Vec fraction = (Vec)_mm512_maskz_reduce_ps(kAll, (__m512)x, kFloor);
  return (Vec)_mm512_maskz_scalef_ps(kAll, (__m512)Precision::power(fraction), (__m512)x);
#else
  const Vec least = splat(-126.0f), shift = splat(12582912.0f);  // as above
#if defined(__AVX2__)
  x = (Vec)_mm256_max_ps((__m256)least, (__m256)x);  // of a NaN and a number it gives the second
#else
  x = x < least ? least : x;
#endif
  const Vec shifted = x + shift;
  return (Vec)((VecU32)Precision::centred_power(x - (shifted - shift)) + ((VecU32)shifted << 23));
#endif
}

// exp_of_at_most_88 for any x: more than 88 is taken as 88, so that nothing overflows.
inline Vec exp(Vec x) {
  const Vec most = splat(88.0f);
  return exp_of_at_most_88(x > most ? most : x);
}

// The sigmoid of x, with e^-x: relative errors below 4e-7, NaN stays NaN.
struct Gate {
  Vec open, e;
};

#if defined(__AVX512F__)
inline Gate gate_of(Vec x) {
  // The order of operands lets a NaN pass. Masked: GCC 12 warns of the unmasked ones.
  constexpr __mmask16 kAll = 0xffff;
  const __m512 below = _mm512_maskz_min_ps(kAll, _mm512_set1_ps(87), -x);
  const __m512 bounded = _mm512_maskz_max_ps(kAll, _mm512_set1_ps(-87), below);
  const Vec e = exp_within_87(bounded);
  // A division takes six times as long as a product.
  const Vec sum = e + 1.0f, about = _mm512_maskz_rcp14_ps(kAll, sum);
  return {about + about * (1.0f - sum * about), e};
}
#else
inline Gate gate_of(Vec x) {
  const Vec e = exp(-x);
  return {1.0f / (1.0f + e), e};
}
#endif

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
