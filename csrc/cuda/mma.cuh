// Tensor-core products by architecture: D[16x8] += A[16xK] B[Kx8] in fp32, K = 8 on sm_75 (half), 16 from sm_80 on
// (half and bfloat16). Tiles lie in shared memory, rows `stride` elements apart, 16 bytes aligned; rows are free of bank
// conflicts where stride * 2 bytes is an odd multiple of 16.
#pragma once

#include "cuda/device.cuh"

namespace awsrn_fast {

template <class T, int Arch>
struct Mma {
  static constexpr int kDepth = 16;
  using A = std::uint32_t[4];
  using B = std::uint32_t[2];

  static __device__ __forceinline__ void load_a(A& a, const T* tile, int stride, int lane) {
    ldmatrix_x4(a, tile + lane % 16 * stride + lane / 16 * 8);
  }
  // From B transposed: row n of the tile holds column n of B.
  static __device__ __forceinline__ void load_b(B& b, const T* tile, int stride, int lane) {
    ldmatrix_x2(b, tile + lane % 8 * stride + lane / 8 % 2 * 8);
  }
  // From B itself: row k of the tile holds row k of B.
  static __device__ __forceinline__ void load_b_rows(B& b, const T* tile, int stride, int lane) {
    ldmatrix_x2_trans(b, tile + lane % 16 * stride);
  }
  static __device__ __forceinline__ void product(float (&d)[4], const A& a, const B& b) { mma_m16n8k16(d, a, b, T{}); }
};

template <>
struct Mma<__half, 75> {
  static constexpr int kDepth = 8;
  using A = std::uint32_t[2];
  using B = std::uint32_t[1];

  static __device__ __forceinline__ void load_a(A& a, const __half* tile, int stride, int lane) {
    ldmatrix_x2(a, tile + lane % 16 * stride);
  }
  static __device__ __forceinline__ void load_b(B& b, const __half* tile, int stride, int lane) {
    ldmatrix_x1(b, tile + lane % 8 * stride);
  }
  static __device__ __forceinline__ void load_b_rows(B& b, const __half* tile, int stride, int lane) {
    ldmatrix_x1_trans(b, tile + lane % 8 * stride);
  }
  static __device__ __forceinline__ void product(float (&d)[4], const A& a, const B& b) { mma_m16n8k8(d, a, b[0]); }
};

// D[r][t] += A[r] B[t] over a depth of 16, in as many steps as the architecture takes. The fragments are m16n8k16's; the
// two halves of each are those of two m16n8k8.
template <class T, int Arch, int Rows, int Tiles>
__device__ __forceinline__ void mma_depth_16(float (&d)[Rows][Tiles][4], const std::uint32_t (&a)[Rows][4],
                                             const std::uint32_t (&b)[Tiles][2]) {
#pragma unroll
  for (int half = 0; half < 16 / Mma<T, Arch>::kDepth; ++half)
#pragma unroll
    for (int row = 0; row < Rows; ++row)
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) {
        if constexpr (Mma<T, Arch>::kDepth == 16) {
          mma_m16n8k16(d[row][tile], a[row], b[tile], T{});
        } else {
          const std::uint32_t part[] = {a[row][2 * half], a[row][2 * half + 1]};
          mma_m16n8k8(d[row][tile], part, b[tile][half]);
        }
      }
}

}  // namespace awsrn_fast
