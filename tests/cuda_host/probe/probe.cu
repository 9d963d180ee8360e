#include "probe.h"

#include "common/tiles.h"
#include "cuda/launch.h"
#include "cuda/mma.cuh"

namespace probe {
namespace {

using namespace awsrn_fast;
constexpr int kRow = 64;
constexpr unsigned kAll = 0xffffffffu;

__global__ void __launch_bounds__(kRow, 16) row_sums_kernel(RowSums p) {
  float* shared = dynamic_shared<float>();
  const int thread = threadIdx.x, lane = thread % 32;
  const Fault fault = p.fault;
  if (thread >= kRow) return;
  if (fault == Fault::exited_lane && thread == 5) return;
  if (fault == Fault::deadlock && thread < 32) __syncwarp();
  if (fault == Fault::deadlock && thread == 3) __syncwarp();

  shared[thread] = p.x[blockIdx.x * kRow + thread];
  if (fault == Fault::two_barriers) {
    if (thread < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  } else if (fault == Fault::two_barriers_on_a_line) {
    // clang-format off
    if (thread < 32) __syncthreads(); else __syncthreads();
    // clang-format on
  } else if (fault != Fault::missing_barrier) {
    __syncthreads();
  }
  float sum = thread < 32 ? shared[thread] + shared[thread + 32] : 0.0f;
  if (fault == Fault::beyond_shared) sum += shared[kRow + lane];
  const unsigned mask = fault == Fault::lane_not_in_mask ? kAll >> 1 : kAll;
  if (fault == Fault::lane_outside_mask) {
    if (lane < 16) sum += __shfl_xor_sync(0xffffu, sum, 16);
  } else {
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(mask, sum, offset);
  }
  if (thread < 32) {  // through memory once more, so that a warp's own order matters
    __syncwarp();
    shared[lane] = sum;
    if (fault != Fault::missing_syncwarp) __syncwarp();
    sum = shared[31 - lane];
  }
  const int rows = gridDim.x - (fault == Fault::below_one ? 1 : 0);
  const int row = fault == Fault::blocks_meet ? 0 : blockIdx.x;
  if (thread == 0 && row < rows) p.y[row] = sum;
}

template <class T, int Arch>
__global__ void __launch_bounds__(32, 16) product_kernel(Product p) {
  using Tensor = Mma<T, Arch>;
  constexpr int kStride = 24;
  T* a = dynamic_shared<T>();
  T* b = a + 16 * kStride;
  const int lane = threadIdx.x;
  float d[4] = {};
  for (int first = 0; first < p.depth; first += Tensor::kDepth) {
    for (int i = lane; i < 16 * Tensor::kDepth; i += 32) {
      const int row = i / Tensor::kDepth, k = i % Tensor::kDepth;
      a[row * kStride + k] = static_cast<const T*>(p.a)[row * p.depth + first + k];
    }
    for (int i = lane; i < 8 * Tensor::kDepth; i += 32) {
      const int column = i / Tensor::kDepth, k = i % Tensor::kDepth;
      const T* from = static_cast<const T*>(p.b);
      if (p.b_transposed)
        b[column * kStride + k] = from[column * p.depth + first + k];
      else
        b[k * kStride + column] = from[(first + k) * 8 + column];
    }
    if (p.fault != Fault::early_matrix) __syncwarp();
    typename Tensor::A fragment_a;
    typename Tensor::B fragment_b;
    Tensor::load_a(fragment_a, a + (p.fault == Fault::unaligned_matrix ? 1 : 0), kStride, lane);
    if (p.b_transposed)
      Tensor::load_b(fragment_b, b, kStride, lane);
    else
      Tensor::load_b_rows(fragment_b, b, kStride, lane);
    Tensor::product(d, fragment_a, fragment_b);
    __syncwarp();
  }
  for (int i = 0; i < 4; ++i) p.d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void __launch_bounds__(32, 16) shuffles_kernel(Shuffles p) {
  const int lane = threadIdx.x, value = p.x[lane];
  p.y[lane] = __shfl_down_sync(kAll, value, 3, p.width);
  p.y[32 + lane] = __shfl_up_sync(kAll, value, 3, p.width);
  p.y[64 + lane] = __shfl_xor_sync(kAll, value, 5, p.width);
  p.y[96 + lane] = __shfl_sync(kAll, value, 7, p.width);
}

__global__ void __launch_bounds__(256, 4) rounding_kernel(Rounding p) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= p.count) return;
  const __half h = from_float<__half>(p.x[i]);
  const __nv_bfloat16 b = from_float<__nv_bfloat16>(p.x[i]);
  p.half[i] = *reinterpret_cast<const std::uint16_t*>(&h);
  p.bfloat16[i] = *reinterpret_cast<const std::uint16_t*>(&b);
  p.from_half[i] = to_float(h);
  p.from_bfloat16[i] = to_float(b);
}

constexpr Target kTarget{0, 0, 80};

}  // namespace

void row_sums(const RowSums& p, int rows, int threads, std::int64_t shared_bytes) {
  launch(row_sums_kernel, dim3(rows), threads, std::size_t(shared_bytes), kTarget, "row_sums", p);
}

void product(const Product& p) {
  constexpr std::size_t kShared = 2 * 16 * 24 * 2;
  if (p.bfloat16)
    launch(product_kernel<__nv_bfloat16, 80>, 1, 32, kShared, kTarget, "product", p);
  else if (p.depth % 16)
    launch(product_kernel<__half, 75>, 1, 32, kShared, kTarget, "product", p);
  else
    launch(product_kernel<__half, 80>, 1, 32, kShared, kTarget, "product", p);
}

void shuffles(const Shuffles& p) { launch(shuffles_kernel, 1, 32, 0, kTarget, "shuffles", p); }

void rounding(const Rounding& p) {
  launch(rounding_kernel, dim3(unsigned(ceil_div(p.count, 256))), 256, 0, kTarget, "rounding", p);
}

}  // namespace probe
