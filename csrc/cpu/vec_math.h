#pragma once

#include "cpu/vec.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline Vec greater(Vec a, Vec b) { return a > b ? a : b; }

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

// The same for any x: more than 88 is taken as 88, so that nothing overflows.
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
