// Products of a warp by architecture: D[16x8] += A[16xK] B[Kx8] in fp32, on tensor cores with K = 8 on sm_75 (half) and
// 16 from sm_80 on (half and bfloat16), in plain arithmetic with K = 8 for float. Tiles lie in shared memory, rows
// `stride` elements apart, 16 bytes aligned; rows are free of bank conflicts where a stride's bytes are an odd multiple
// of 16. A lane holds of D what device.cuh says, for every type.
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
  // From A transposed: row k of the tile holds column k of A.
  static __device__ __forceinline__ void load_a_columns(A& a, const T* tile, int stride, int lane) {
    ldmatrix_x4_trans(a, tile + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
  }
  // From the D of kDepth / 8 products side by side, rounded to T: its columns are A's.
  static __device__ __forceinline__ void from_products(A& a, const float (*d)[4], int lane) {
    a[0] = pack<T>(d[0][0], d[0][1]);
    a[1] = pack<T>(d[0][2], d[0][3]);
    a[2] = pack<T>(d[1][0], d[1][1]);
    a[3] = pack<T>(d[1][2], d[1][3]);
  }
  // From B transposed: row n of the tile holds column n of B.
  static __device__ __forceinline__ void load_b(B& b, const T* tile, int stride, int lane) {
    ldmatrix_x2(b, tile + lane % 8 * stride + lane / 8 % 2 * 8);
  }
  // From B itself: row k of the tile holds row k of B.
  static __device__ __forceinline__ void load_b_rows(B& b, const T* tile, int stride, int lane) {
    ldmatrix_x2_trans(b, tile + lane % 16 * stride);
  }
  static __device__ __forceinline__ void ones(B& b) { b[0] = b[1] = pack<T>(1.0f, 1.0f); }
  static __device__ __forceinline__ void product(float (&d)[4], const A& a, const B& b) { mma_m16n8k16(d, a, b, T{}); }

  // As load_b and load_b_rows, for as many B as one access gives: neighbours in columns of B, and in depth.
  static constexpr int kFragments = 2;
  static __device__ __forceinline__ void load_b_columns(B (&b)[2], const T* tile, int stride, int lane) {
    std::uint32_t words[4];
    ldmatrix_x4(words, tile + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8);
    b[0][0] = words[0], b[0][1] = words[1], b[1][0] = words[2], b[1][1] = words[3];
  }
  static __device__ __forceinline__ void load_b_depths(B (&b)[2], const T* tile, int stride, int lane) {
    std::uint32_t words[4];
    ldmatrix_x4_trans(words, tile + lane * stride);
    b[0][0] = words[0], b[0][1] = words[1], b[1][0] = words[2], b[1][1] = words[3];
  }
};

// Depth 8, on every architecture that has the type.
template <class T>
struct Mma8 {
  static constexpr int kDepth = 8;
  using A = std::uint32_t[2];
  using B = std::uint32_t[1];

  static __device__ __forceinline__ void load_a(A& a, const T* tile, int stride, int lane) {
    ldmatrix_x2(a, tile + lane % 16 * stride);
  }
  static __device__ __forceinline__ void load_a_columns(A& a, const T* tile, int stride, int lane) {
    ldmatrix_x2_trans(a, tile + lane % 8 * stride + lane / 8 % 2 * 8);
  }
  static __device__ __forceinline__ void from_products(A& a, const float (*d)[4], int lane) {
    a[0] = pack<T>(d[0][0], d[0][1]);
    a[1] = pack<T>(d[0][2], d[0][3]);
  }
  static __device__ __forceinline__ void load_b(B& b, const T* tile, int stride, int lane) {
    ldmatrix_x1(b, tile + lane % 8 * stride);
  }
  static __device__ __forceinline__ void load_b_rows(B& b, const T* tile, int stride, int lane) {
    ldmatrix_x1_trans(b, tile + lane % 8 * stride);
  }
  static __device__ __forceinline__ void ones(B& b) { b[0] = pack<T>(1.0f, 1.0f); }
  static __device__ __forceinline__ void product(float (&d)[4], const A& a, const B& b) {
    mma_m16n8k8(d, a, b[0], T{});
  }

  static constexpr int kFragments = 4;
  static __device__ __forceinline__ void load_b_columns(B (&b)[4], const T* tile, int stride, int lane) {
    std::uint32_t words[4];
    ldmatrix_x4(words, tile + lane * stride);
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i][0] = words[i];
  }
  static __device__ __forceinline__ void load_b_depths(B (&b)[4], const T* tile, int stride, int lane) {
    std::uint32_t words[4];
    ldmatrix_x4_trans(words, tile + lane * stride);
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i][0] = words[i];
  }
};

template <>
struct Mma<__half, 75> : Mma8<__half> {};

template <int Arch>
struct Mma<float, Arch> {
  static constexpr int kDepth = 8;
  using A = float[2][8];  // rows lane / 4 and lane / 4 + 8
  using B = float[2][8];  // columns lane % 4 * 2 and the next

  static __device__ __forceinline__ void load_a(A& a, const float* tile, int stride, int lane) {
    load(tile + lane / 4 * stride, a[0]);
    load(tile + (lane / 4 + 8) * stride, a[1]);
  }
  static __device__ __forceinline__ void load_a_columns(A& a, const float* tile, int stride, int lane) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      a[0][k] = tile[k * stride + lane / 4];
      a[1][k] = tile[k * stride + lane / 4 + 8];
    }
  }
  // Four lanes hold a row.
  static __device__ __forceinline__ void from_products(A& a, const float (*d)[4], int lane) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const int holder = lane / 4 * 4 + k / 2;
      a[0][k] = __shfl_sync(0xffffffffu, d[0][k % 2], holder);
      a[1][k] = __shfl_sync(0xffffffffu, d[0][2 + k % 2], holder);
    }
  }
  static __device__ __forceinline__ void load_b(B& b, const float* tile, int stride, int lane) {
    load(tile + lane % 4 * 2 * stride, b[0]);
    load(tile + (lane % 4 * 2 + 1) * stride, b[1]);
  }
  static __device__ __forceinline__ void load_b_rows(B& b, const float* tile, int stride, int lane) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      float pair[2];
      load(tile + k * stride + lane % 4 * 2, pair);
      b[0][k] = pair[0];
      b[1][k] = pair[1];
    }
  }
  static __device__ __forceinline__ void ones(B& b) {
#pragma unroll
    for (int k = 0; k < 8; ++k) b[0][k] = b[1][k] = 1.0f;
  }
  static __device__ __forceinline__ void product(float (&d)[4], const A& a, const B& b) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int k = 0; k < 8; ++k) d[i] += a[i / 2][k] * b[i % 2][k];
  }

  static constexpr int kFragments = 1;
  static __device__ __forceinline__ void load_b_columns(B (&b)[1], const float* tile, int stride, int lane) {
    load_b(b[0], tile, stride, lane);
  }
  static __device__ __forceinline__ void load_b_depths(B (&b)[1], const float* tile, int stride, int lane) {
    load_b_rows(b[0], tile, stride, lane);
  }
};

// D[r][t] += A[r] B[t] over a depth of 16, in as many steps as the architecture takes. The fragments are m16n8k16's;
// the two halves of each are those of two m16n8k8.
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
