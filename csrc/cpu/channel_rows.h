#pragma once

#include "cpu/gemm.h"

// Rows of channels, [positions][channels], as products read them: padded to whole vectors, in fp32 or in pairs of bf16.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

template <class T>
const T* at(const void* map, Index offset) {
  return static_cast<const T*>(map) + offset;
}

// Calls body(first channel, lanes) for each vector of a row of channels.
template <class Body>
inline void for_each_vector(Index channels, Body body) {
  Index c = 0;
  for (; c + kLanes <= channels; c += kLanes) body(c, AllLanes{});
  if (c < channels) body(c, SomeLanes{int(channels - c)});
}

// Rows of `c` numbers that value(row, first channel, lanes) gives, and of zeros up to `wide`, whole vectors or `c`.
template <class Number, class Value>
inline void fill_rows(Index count, Index c, Index wide, Number* rows, Value value) {
  for (Index p = 0; p < count; ++p, rows += wide) {
    if (c < wide) {
      for (Index k = c / kLanes * kLanes; k < wide; k += kLanes) store(rows + k, Vec{}, AllLanes{});
    }
    for_each_vector(c, [&](Index k, auto lanes) { store(rows + k, value(p, k, lanes), lanes); });
  }
}

inline const float* as_they_are(const float* from, const float*) { return from; }
inline const bf16* as_they_are(const bf16* from, const bf16*) { return from; }
inline const float* as_they_are(const bf16*, const float*) { return nullptr; }

// Rows of channels as products read them: where they lie if they can be, else in `tile`, padded.
template <class Number, class T>
inline const Number* rows_as(const T* from, Index count, Index c, Index wide, float* tile) {
  Number* rows = reinterpret_cast<Number*>(tile);
  if (const Number* there = as_they_are(from, rows); there && c == wide) return there;
  fill_rows(count, c, wide, rows, [&](Index p, Index k, auto lanes) { return load(from + p * c + k, lanes); });
  return rows;
}

// Where a product runs over rows, two in bf16 lie beside each other: [rows / 2, wide, 2]. In fp32 they stay.
inline Matrix down(const float* rows, Index, Index wide, float*) { return {rows, wide}; }
inline Matrix down(const bf16* rows, Index count, Index wide, float* to) {
  for (Index p = 0; p < count; p += 2) {
    for (Index k = 0; k < wide; k += kLanes) {
      const Vec first = load(rows + p * wide + k, AllLanes{});
      const Vec second = p + 1 < count ? load(rows + (p + 1) * wide + k, AllLanes{}) : Vec{};
      store(to + p / 2 * wide + k, (Vec)((VecU32)first >> 16 | (VecU32)second), AllLanes{});
    }
  }
  return {to, wide};
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
