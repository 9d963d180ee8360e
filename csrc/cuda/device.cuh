// The only door to the CUDA toolkit for device code. Under AWSRN_FAST_CUDA_HOST, g++ compiles kernels with the same
// names from tests/cuda_host/host.h and runs them on the CPU; that is where they are tested and race-checked.
//
// Rules that make this work:
// - Shared memory is dynamic only, one struct or array: dynamic_shared<T>(); no __shared__ variables. Its size goes to
//   launch(). It is poisoned there, bounded, and counted against compute capability 7.5's 64 KB.
// - Inline assembly is in this file alone, in functions that the host has too.
// - Every kernel says __launch_bounds__(threads, blocks): blocks is the number that fits on an SM of compute
//   capability 7.5, which a test checks against registers and shared memory.
// - A kernel takes one struct by value, and writes every element of its outputs.
// - A template parameter Arch (75 or 80) chooses what needs sm_80; the body of an instance stands in
//   `if constexpr (instance_runs_here<T, Arch>())`, which is false where another instance runs.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef AWSRN_FAST_CUDA_HOST
#include "cuda_host/host.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include "cuda/values.h"

namespace awsrn_fast {

// Whether an instance has work to do in the code that is being compiled: the half types' for sm_75 runs there alone, so
// that later code does not hold it twice.
template <class T, int Arch>
__device__ constexpr bool instance_runs_here() {
#ifdef __CUDA_ARCH__
  return sizeof(T) == sizeof(float) || (Arch < 80) == (__CUDA_ARCH__ < 800);
#else
  return true;
#endif
}

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef AWSRN_FAST_CUDA_HOST
  return reinterpret_cast<T*>(cuda_host::dynamic_shared_memory());
#else
  extern __shared__ __align__(128) unsigned char awsrn_fast_shared[];
  return reinterpret_cast<T*>(awsrn_fast_shared);
#endif
}

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T from_float(float v) {
  if constexpr (sizeof(T) == sizeof(float))
    return v;
  else
    return T(v);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

template <class T>
__device__ __forceinline__ float value_at(const Values& values, long long at, float otherwise) {
  if (!values.at) return otherwise;
  return values.fp32 ? static_cast<const float*>(values.at)[at] : to_float(static_cast<const T*>(values.at)[at]);
}

// Two values beside each other in memory, as products and ldmatrix hold them.
template <class T>
__device__ __forceinline__ std::uint32_t pack(float first, float second) {
  static_assert(sizeof(T) == 2);
  std::uint32_t word;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);
    memcpy(&word, &pair, sizeof word);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    memcpy(&word, &pair, sizeof word);
  }
  return word;
}

namespace detail {
template <int Bytes>
struct Word;
template <>
struct Word<2> {
  using type = std::uint16_t;
};
template <>
struct Word<4> {
  using type = std::uint32_t;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};
}  // namespace detail

// Values that one thread reads at a time: 16 bytes, the widest access there is.
template <class T>
constexpr int kWidest = 16 / int(sizeof(T));

// N values by accesses of up to 16 bytes each, aligned to their size, as floats.
template <int N, class T>
__device__ __forceinline__ void load(const T* from, float (&values)[N]) {
  constexpr int kStep = N < kWidest<T> ? N : kWidest<T>;
  using Word = typename detail::Word<kStep* int(sizeof(T))>::type;
#pragma unroll
  for (int i = 0; i < N; i += kStep) {
    const Word word = *reinterpret_cast<const Word*>(from + i);
    const T* parts = reinterpret_cast<const T*>(&word);
#pragma unroll
    for (int k = 0; k < kStep; ++k) values[i + k] = to_float(parts[k]);
  }
}

template <int N, class T>
__device__ __forceinline__ void store(T* to, const float (&values)[N]) {
  constexpr int kStep = N < kWidest<T> ? N : kWidest<T>;
  using Word = typename detail::Word<kStep* int(sizeof(T))>::type;
#pragma unroll
  for (int i = 0; i < N; i += kStep) {
    Word word;
    T* parts = reinterpret_cast<T*>(&word);
#pragma unroll
    for (int k = 0; k < kStep; ++k) parts[k] = from_float<T>(values[i + k]);
    *reinterpret_cast<Word*>(to + i) = word;
  }
}

// 2^x with a relative error of 2^-22, and 0 below 2^-126.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef AWSRN_FAST_CUDA_HOST
  return std::exp2(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// The sum over the 32 lanes of a warp, in each of them; the same bits in each.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

#ifdef AWSRN_FAST_CUDA_HOST

#define AWSRN_FAST_LDMATRIX(Name, Matrices, Transposed)                                  \
  inline void Name(std::uint32_t (&words)[Matrices], const void* row, AWSRN_FAST_HERE) { \
    cuda_host::ldmatrix(words, Matrices, Transposed, row, file, line);                   \
  }
AWSRN_FAST_LDMATRIX(ldmatrix_x1, 1, false)
AWSRN_FAST_LDMATRIX(ldmatrix_x2, 2, false)
AWSRN_FAST_LDMATRIX(ldmatrix_x4, 4, false)
AWSRN_FAST_LDMATRIX(ldmatrix_x1_trans, 1, true)
AWSRN_FAST_LDMATRIX(ldmatrix_x2_trans, 2, true)
AWSRN_FAST_LDMATRIX(ldmatrix_x4_trans, 4, true)
#undef AWSRN_FAST_LDMATRIX

inline void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b, __half = {}, AWSRN_FAST_HERE) {
  cuda_host::mma(d, a, &b, 8, cuda_host::half_value, file, line);
}
inline void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b, __nv_bfloat16, AWSRN_FAST_HERE) {
  cuda_host::mma(d, a, &b, 8, cuda_host::bfloat16_value, file, line);
}
inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], __half,
                         AWSRN_FAST_HERE) {
  cuda_host::mma(d, a, b, 16, cuda_host::half_value, file, line);
}
inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], __nv_bfloat16,
                         AWSRN_FAST_HERE) {
  cuda_host::mma(d, a, b, 16, cuda_host::bfloat16_value, file, line);
}

#else

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return std::uint32_t(__cvta_generic_to_shared(pointer));
}

// Matrices of 8x8 16-bit values: lane 8 m + r gives the address of row r of matrix m, and lane l gets the pair at row
// l / 4, columns l % 4 * 2 and the next (_trans: of the transposed matrix) of each.
#define AWSRN_FAST_LDMATRIX(Suffix, Ptx)                                                            \
  __device__ __forceinline__ void ldmatrix_x1##Suffix(std::uint32_t (&words)[1], const void* row) { \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" Ptx ".shared.b16 {%0}, [%1];"                      \
                 : "=r"(words[0])                                                                   \
                 : "r"(shared_address(row))                                                         \
                 : "memory");                                                                       \
  }                                                                                                 \
  __device__ __forceinline__ void ldmatrix_x2##Suffix(std::uint32_t (&words)[2], const void* row) { \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" Ptx ".shared.b16 {%0, %1}, [%2];"                  \
                 : "=r"(words[0]), "=r"(words[1])                                                   \
                 : "r"(shared_address(row))                                                         \
                 : "memory");                                                                       \
  }                                                                                                 \
  __device__ __forceinline__ void ldmatrix_x4##Suffix(std::uint32_t (&words)[4], const void* row) { \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" Ptx ".shared.b16 {%0, %1, %2, %3}, [%4];"          \
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])                   \
                 : "r"(shared_address(row))                                                         \
                 : "memory");                                                                       \
  }
AWSRN_FAST_LDMATRIX(, "")
AWSRN_FAST_LDMATRIX(_trans, ".trans")
#undef AWSRN_FAST_LDMATRIX

// D[16x8] += A[16xK] B[Kx8]. Lane l holds of D rows l / 4 and l / 4 + 8, columns l % 4 * 2 and the next; of A the same
// rows and columns for each 8 of K; of B rows l % 4 * 2 and the next for each 8 of K, column l / 4.
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b, __half = {}) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b,
                                            __nv_bfloat16) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}
#define AWSRN_FAST_MMA_K16(T, Ptx)                                                         \
  __device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], \
                                               const std::uint32_t (&b)[2], T) {           \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." Ptx "." Ptx                      \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"    \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));      \
  }
#else  // called only in instances for 80, see instance_runs_here()
__device__ __forceinline__ void mma_m16n8k8(float (&)[4], const std::uint32_t (&)[2], std::uint32_t, __nv_bfloat16) {
  __trap();
}
#define AWSRN_FAST_MMA_K16(T, Ptx)                                                                                   \
  __device__ __forceinline__ void mma_m16n8k16(float (&)[4], const std::uint32_t (&)[4], const std::uint32_t (&)[2], \
                                               T) {                                                                  \
    __trap();                                                                                                        \
  }
#endif
AWSRN_FAST_MMA_K16(__half, "f16")
AWSRN_FAST_MMA_K16(__nv_bfloat16, "bf16")
#undef AWSRN_FAST_MMA_K16

#endif  // AWSRN_FAST_CUDA_HOST

}  // namespace awsrn_fast
