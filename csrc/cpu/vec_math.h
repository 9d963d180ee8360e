#pragma once

#include "cpu/vec.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// e^x, relative error below 2e-7; x outside [-87.3, 88] is taken as that bound, so that nothing overflows.
// Cephes' expf: x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial for e^r.
inline Vec exp(Vec x) {
  const Vec least = splat(-87.3f), most = splat(88.0f);
  x = x < least ? least : x;  // a NaN passes both comparisons unchanged
  x = x > most ? most : x;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const Vec shift = splat(12582912.0f);
  const Vec shifted = x * 1.44269504f + shift;
  const Vec n = shifted - shift;
  const Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * (Vec)(((VecU32)shifted << 23) + 0x3f800000u);
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
