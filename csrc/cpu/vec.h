#pragma once

#include <cstdint>

#include "common/index.h"
#include "cpu/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

// Vectors as wide as the unit's instruction set, on the vector extension of GCC and Clang: operators work lane by
// lane, and the compiler picks the instructions. Arithmetic is fp32 whatever the storage.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

using Vec = float __attribute__((vector_size(kLanes * 4)));
using VecU32 = std::uint32_t __attribute__((vector_size(kLanes * 4)));
using VecU16 = std::uint16_t __attribute__((vector_size(kLanes * 2)));

struct bf16 {
  std::uint16_t bits;
};

// Not std::min and std::max: a template of std would be shared between the instruction sets.
inline Index min_of(Index a, Index b) { return a < b ? a : b; }
inline Index max_of(Index a, Index b) { return a > b ? a : b; }

// `count` rounded up to whole vectors.
inline Index whole_vectors(Index count) { return round_up(count, kLanes); }

// Which lanes of a vector are in memory: all of them, or the first `count` at the end of a row.
struct AllLanes {
  static constexpr int count = kLanes;
};
struct SomeLanes {
  int count;
};

inline Vec splat(float value) { return value - Vec{}; }

inline Vec from_bf16(VecU16 bits) {
#if defined(__AVX512F__)
  VecU32 wide;  // the compiler takes two halves
  asm("vpmovzxwd %1, %0" : "=v"(wide) : "vm"(bits));
  return (Vec)(wide << 16);
#else
  return (Vec)(__builtin_convertvector(bits, VecU32) << 16);
#endif
}

// Round to nearest even; a NaN stays a (quiet) NaN instead of overflowing into another number.
inline VecU16 to_bf16(Vec value) {
  const VecU32 bits = (VecU32)value;
  const VecU32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const VecU32 is_nan = (VecU32)(value != value);
  return __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), VecU16);
}

template <class V, class Lanes>
inline V load_raw(const void* from, Lanes lanes) {
  V value{};
  __builtin_memcpy(&value, from, lanes.count * sizeof(value[0]));
  return value;
}

template <class V, class Lanes>
inline void store_raw(void* to, V value, Lanes lanes) {
  __builtin_memcpy(to, &value, lanes.count * sizeof(value[0]));
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// Where the number of lanes is known only at run time, the copies above would be calls of memcpy.
inline __m256i mask_of(SomeLanes lanes) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes.count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
template <>
inline Vec load_raw<Vec>(const void* from, SomeLanes lanes) {
  return (Vec)_mm256_maskload_ps(static_cast<const float*>(from), mask_of(lanes));
}
template <>
inline void store_raw(void* to, Vec value, SomeLanes lanes) {
  _mm256_maskstore_ps(static_cast<float*>(to), mask_of(lanes), (__m256)value);
}
#endif

// Missing lanes read as zero.
template <class Lanes>
inline Vec load(const float* from, Lanes lanes) {
  return load_raw<Vec>(from, lanes);
}
template <class Lanes>
inline Vec load(const bf16* from, Lanes lanes) {
  return from_bf16(load_raw<VecU16>(from, lanes));
}
template <class Lanes>
inline void store(float* to, Vec value, Lanes lanes) {
  store_raw(to, value, lanes);
}
template <class Lanes>
inline void store(bf16* to, Vec value, Lanes lanes) {
  store_raw(to, to_bf16(value), lanes);
}

template <class Lanes>
inline float sum(Vec value, Lanes lanes) {
  float total = 0;
  for (int i = 0; i < lanes.count; ++i) total += value[i];
  return total;
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
