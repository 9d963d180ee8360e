#include "cpu/linear.h"

#include <omp.h>

#include "cpu/channel_rows.h"
#include "cpu/kernels.h"
#include "cpu/outer_product.h"

// 1x1 convolutions of maps in channels_last, in fp32 whatever the storage: tiles of positions by the whole weight.
// Gradients of the weight are outer products of a tile's rows, added to those of the tiles before it.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

template <class T>
void forward(const LinearFwd& a) {
  const LinearShape& s = a.shape;
  fill_rows(s.c, s.o, s.o_wide, a.packed, [&](std::int64_t c, std::int64_t o, auto lanes) {
    return load(a.weight + c * s.o + o, lanes);
  });
  const std::int64_t tiles = (s.rows + kLinearTile - 1) / kLinearTile;
#pragma omp parallel for num_threads(s.threads) schedule(static) if (tiles > 1)
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    float* in = a.scratch + omp_get_thread_num() * kLinearTile * (s.c_wide + s.o_wide);
    float* out = in + kLinearTile * s.c_wide;
    const std::int64_t first = tile * kLinearTile, count = lesser(kLinearTile, s.rows - first);
    const float* rows = rows_of<float>(at<T>(a.x, first * s.c), count, s.c, s.c_wide, in);
    gemm(count, s.o_wide / kLanes, s.c, {rows, s.c_wide}, {a.packed, s.o_wide}, out, s.o_wide, {nullptr, false, a.bias});
    const T* residual = a.residual ? at<T>(a.residual, first * s.o) : nullptr;
    fill_rows(count, s.o, s.o, static_cast<T*>(a.y) + first * s.o, [&](std::int64_t p, std::int64_t o, auto lanes) {
      const Vec value = load(out + p * s.o_wide + o, AllLanes{});
      return residual ? value + load(residual + p * s.o + o, lanes) : value;
    });
  }
}

template <class T>
void gradient(const LinearGradWeight& a) {
  const LinearShape& s = a.shape;
  const std::int64_t products = s.c_wide * s.o_wide, size = products + s.o_wide;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic) if (a.slots > 1)
  for (std::int64_t slot = 0; slot < a.slots; ++slot) {
    float* in = a.scratch + omp_get_thread_num() * (kLinearTile * (s.c_wide + s.o_wide) + products);
    float *out = in + kLinearTile * s.c_wide, *of_tile = out + kLinearTile * s.o_wide;
    float *sums = a.partial + slot * size, *bias = sums + products;
    for (std::int64_t i = 0; i < size; i += kLanes) store(sums + i, Vec{}, AllLanes{});
    const std::int64_t end = (slot + 1) * s.rows / a.slots;
    for (std::int64_t first = slot * s.rows / a.slots; first < end; first += kLinearTile) {
      const std::int64_t count = lesser(kLinearTile, end - first);
      const float* rows = rows_of<float>(at<T>(a.x, first * s.c), count, s.c, s.c_wide, in);
      const float* grads = rows_of<float>(at<T>(a.grad, first * s.o), count, s.o, s.o_wide, out);
      outer_product(count, {rows, s.c_wide}, s.c_wide, {grads, s.o_wide}, s.o_wide, of_tile, s.o_wide, false);
      for (std::int64_t i = 0; i < products; i += kLanes) {
        store(sums + i, load(sums + i, AllLanes{}) + load(of_tile + i, AllLanes{}), AllLanes{});
      }
      for (std::int64_t o = 0; o < s.o_wide; o += kLanes) {
        Vec total{};
        for (std::int64_t p = 0; p < count; ++p) total += load(grads + p * s.o_wide + o, AllLanes{});
        store(bias + o, load(bias + o, AllLanes{}) + total, AllLanes{});
      }
    }
  }
  for (std::int64_t row = 0; row <= s.c; ++row) {  // the last one is the bias'
    float* to = row < s.c ? a.grad_weight + row * s.o : a.grad_bias;
    const float* from = a.partial + (row < s.c ? row : s.c_wide) * s.o_wide;
    for (std::int64_t o = 0; o < s.o; ++o) {
      double total = 0;
      for (std::int64_t slot = 0; slot < a.slots; ++slot) total += from[slot * size + o];
      to[o] = float(total);
    }
  }
}

}  // namespace

void launch_linear_fwd(const LinearFwd& a) {
  a.shape.dtype == DType::bfloat16 ? forward<bf16>(a) : forward<float>(a);
}

void launch_linear_grad_weight(const LinearGradWeight& a) {
  a.shape.dtype == DType::bfloat16 ? gradient<bf16>(a) : gradient<float>(a);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
