// What csrc/cuda/device.cuh includes in place of the CUDA toolkit when g++ compiles a kernel: the same names, run by
// block.cpp. What is missing here is missing on purpose: see README.md.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "block.h"
#include "types.h"

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict

#define AWSRN_FAST_SITE (::cuda_host::Site{__FILE__, __LINE__, __COUNTER__})

// A macro, so that each occurrence in the source is a barrier of its own, on one line or in one template.
#define __syncthreads() ::cuda_host::barrier(AWSRN_FAST_SITE)

#define AWSRN_FAST_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace cuda_host {

using Finish = void (*)(Lane*);

inline void take_from_source_lane(Lane* lanes) {
  for (int l = 0; l < warpSize; ++l) {
    if (!lanes[l].named) continue;
    const Lane& source = lanes[lanes[l].argument];
    if (!source.named) fail("a shuffle reads a lane that its mask does not name");
    lanes[l].out = source.in;
  }
}

template <class T>
T shuffle(WarpOp op, std::uint32_t mask, T value, int source, const char* file, int line) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t in = 0;
  std::memcpy(&in, &value, sizeof value);
  const std::uint64_t out = warp_op(op, mask, in, std::uint64_t(source), {file, line, 0}, take_from_source_lane);
  std::memcpy(&value, &out, sizeof value);
  return value;
}

inline void count_votes(Lane* lanes) {
  std::uint32_t votes = 0;
  for (int l = 0; l < warpSize; ++l)
    if (lanes[l].named && lanes[l].in) votes |= 1u << l;
  for (int l = 0; l < warpSize; ++l) lanes[l].out = votes;
}

// One lane's part of ldmatrix: the row whose address it gives, and the words that it gets.
struct MatrixRows {
  const void* row;
  int matrices;
  bool transposed;
  std::uint32_t* words;
  const void* place;
};

void ldmatrix_finish(Lane* lanes);

// One lane's fragments of D[16x8] += A[16xK] B[Kx8], K = 8 or 16.
struct Product {
  float* d;
  const std::uint32_t *a, *b;
  int depth;
  float (*value)(std::uint16_t);
};

void mma_finish(Lane* lanes);

__attribute__((noinline)) inline void ldmatrix(std::uint32_t* words, int matrices, bool transposed, const void* row,
                                               const char* file, int line) {
  MatrixRows mine{row, matrices, transposed, words, __builtin_return_address(0)};
  warp_op(WarpOp::ldmatrix, ~0u, reinterpret_cast<std::uint64_t>(&mine), 0, {file, line, 0}, ldmatrix_finish);
}

inline void mma(float* d, const std::uint32_t* a, const std::uint32_t* b, int depth, float (*value)(std::uint16_t),
                const char* file, int line) {
  Product mine{d, a, b, depth, value};
  warp_op(WarpOp::mma, ~0u, reinterpret_cast<std::uint64_t>(&mine), 0, {file, line, 0}, mma_finish);
}

}  // namespace cuda_host

inline void __syncwarp(std::uint32_t mask = ~0u, AWSRN_FAST_HERE) {
  cuda_host::warp_op(cuda_host::WarpOp::sync, mask, 0, 0, {file, line, 0}, nullptr);
}

template <class T>
T __shfl_sync(std::uint32_t mask, T value, int lane, int width = 32, AWSRN_FAST_HERE) {
  const int source = (cuda_host::lane_id() & ~(width - 1)) | (lane & (width - 1));
  return cuda_host::shuffle(cuda_host::WarpOp::shuffle, mask, value, source, file, line);
}

template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int lane_mask, int width = 32, AWSRN_FAST_HERE) {
  const int lane = cuda_host::lane_id(), source = lane ^ lane_mask;
  const bool beyond = source > (lane | (width - 1));
  return cuda_host::shuffle(cuda_host::WarpOp::shuffle_xor, mask, value, beyond ? lane : source, file, line);
}

template <class T>
T __shfl_down_sync(std::uint32_t mask, T value, unsigned delta, int width = 32, AWSRN_FAST_HERE) {
  const int lane = cuda_host::lane_id();
  const bool beyond = (lane & (width - 1)) + int(delta) >= width;
  return cuda_host::shuffle(cuda_host::WarpOp::shuffle_down, mask, value, beyond ? lane : lane + int(delta), file,
                            line);
}

template <class T>
T __shfl_up_sync(std::uint32_t mask, T value, unsigned delta, int width = 32, AWSRN_FAST_HERE) {
  const int lane = cuda_host::lane_id();
  const bool beyond = (lane & (width - 1)) < int(delta);
  return cuda_host::shuffle(cuda_host::WarpOp::shuffle_up, mask, value, beyond ? lane : lane - int(delta), file, line);
}

inline std::uint32_t __ballot_sync(std::uint32_t mask, int vote, AWSRN_FAST_HERE) {
  return std::uint32_t(
      cuda_host::warp_op(cuda_host::WarpOp::ballot, mask, vote != 0, 0, {file, line, 0}, cuda_host::count_votes));
}
inline int __any_sync(std::uint32_t mask, int vote, AWSRN_FAST_HERE) {
  return __ballot_sync(mask, vote, file, line) != 0;
}
inline int __all_sync(std::uint32_t mask, int vote, AWSRN_FAST_HERE) {
  return __ballot_sync(mask, vote, file, line) == mask;
}

template <class T>
T __ldg(const T* address) {
  return *address;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __uint_as_float(unsigned x) { return cuda_host::bits<float>(x); }
inline unsigned __float_as_uint(float x) { return cuda_host::bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_host::bits<float>(x); }
inline int __float_as_int(float x) { return cuda_host::bits<int>(x); }
inline int __float2int_rn(float x) { return int(std::nearbyint(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
using std::max;
using std::min;
