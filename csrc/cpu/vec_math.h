#pragma once

#include "cpu/vec.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline Vec greater(Vec a, Vec b) { return a > b ? a : b; }

// e^x for x <= 88, relative error below 2e-7; less than -87 is taken as -87. NaN stays NaN.
inline Vec exp_of_at_most_88(Vec x) {
  const Vec least = splat(-87.0f);
  x = x < least ? least : x;  // a NaN passes the comparison unchanged
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

// The same for any x: more than 88 is taken as 88, so that nothing overflows.
inline Vec exp(Vec x) {
  const Vec most = splat(88.0f);
  return exp_of_at_most_88(x > most ? most : x);
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
