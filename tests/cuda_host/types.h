// CUDA's vector and half types for g++. In the race build a 4-, 8- or 16-byte vector is read and written as one access,
// as the hardware does it; plain structs would be taken apart by the optimizer and counted as several.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "block.h"

namespace cuda_host {

#ifdef AWSRN_FAST_CUDA_RACE
#define AWSRN_FAST_WHOLE_COPIES(Name)                                                                             \
  Name() = default;                                                                                               \
  __attribute__((always_inline)) Name(const Name& other) { ::cuda_host::copy_whole(this, &other, sizeof *this); } \
  __attribute__((always_inline)) Name& operator=(const Name& other) {                                             \
    ::cuda_host::copy_whole(this, &other, sizeof *this);                                                          \
    return *this;                                                                                                 \
  }
#else
#define AWSRN_FAST_WHOLE_COPIES(Name) Name() = default;
#endif

template <class To, class From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// IEEE binary16, rounded to nearest even; independent of the toolkit, so that the harness needs none.
inline std::uint16_t half_bits(float value) {
  const std::uint32_t x = bits<std::uint32_t>(value), sign = x >> 16 & 0x8000u;
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f)) return sign | (magnitude != magnitude ? 0x7e00u : 0x7c00u);
  if (magnitude < 0x1p-14f) return sign | std::uint32_t(std::nearbyint(magnitude * 0x1p24f));
  const std::uint32_t m = x & 0x7fffffffu;
  return sign | ((m + 0xfffu + (m >> 13 & 1u) - 0x38000000u) >> 13);
}

inline float half_value(std::uint16_t h) {
  const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 1023u;
  if (exponent == 0) return std::copysign(float(mantissa) * 0x1p-24f, bits<float>(sign | 0x3f800000u));
  if (exponent == 31) return bits<float>(sign | 0x7f800000u | mantissa << 13);
  return bits<float>(sign | (exponent + 112u) << 23 | mantissa << 13);
}

inline std::uint16_t bfloat16_bits(float value) {
  const std::uint32_t x = bits<std::uint32_t>(value);
  if (value != value) return std::uint16_t(x >> 16 | 0x40u);
  return std::uint16_t((x + 0x7fffu + (x >> 16 & 1u)) >> 16);
}

inline float bfloat16_value(std::uint16_t b) { return bits<float>(std::uint32_t(b) << 16); }

}  // namespace cuda_host

struct __half {
  std::uint16_t x;
};
struct __nv_bfloat16 {
  std::uint16_t x;
};
using half = __half;

#define AWSRN_FAST_VECTOR2(Name, Element, Alignment) \
  struct alignas(Alignment) Name {                   \
    Element x, y;                                    \
    AWSRN_FAST_WHOLE_COPIES(Name)                    \
    Name(Element x_, Element y_) : x(x_), y(y_) {}   \
  };
#define AWSRN_FAST_VECTOR4(Name, Element, Alignment)                                     \
  struct alignas(Alignment) Name {                                                       \
    Element x, y, z, w;                                                                  \
    AWSRN_FAST_WHOLE_COPIES(Name)                                                        \
    Name(Element x_, Element y_, Element z_, Element w_) : x(x_), y(y_), z(z_), w(w_) {} \
  };
AWSRN_FAST_VECTOR2(__half2, __half, 4)
AWSRN_FAST_VECTOR2(__nv_bfloat162, __nv_bfloat16, 4)
AWSRN_FAST_VECTOR2(float2, float, 8)
AWSRN_FAST_VECTOR2(int2, int, 8)
AWSRN_FAST_VECTOR2(uint2, unsigned, 8)
AWSRN_FAST_VECTOR4(float4, float, 16)
AWSRN_FAST_VECTOR4(int4, int, 16)
AWSRN_FAST_VECTOR4(uint4, unsigned, 16)
using half2 = __half2;

inline float2 make_float2(float x, float y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline __half __float2half_rn(float v) { return {cuda_host::half_bits(v)}; }
inline __half __float2half(float v) { return __float2half_rn(v); }
inline float __half2float(__half h) { return cuda_host::half_value(h.x); }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }
inline __nv_bfloat16 __float2bfloat16_rn(float v) { return {cuda_host::bfloat16_bits(v)}; }
inline __nv_bfloat16 __float2bfloat16(float v) { return __float2bfloat16_rn(v); }
inline float __bfloat162float(__nv_bfloat16 b) { return cuda_host::bfloat16_value(b.x); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 b) { return {__bfloat162float(b.x), __bfloat162float(b.y)}; }
