// y = W x + b + residual, a 1x1 convolution of maps in channels_last, and the gradients of its weight and bias.
//
// Algorithm: products in fp32 whatever the storage, tiles of 64 positions by the whole packed weight. The weight's
// gradient is an outer product of each tile's rows, added to those of the tiles before it.
//
// Parallel: OpenMP over tiles in forward, over slots of positions in the gradient. The slots depend on the shape alone
// and are added in order, in double, so results don't depend on the number of threads.
//
// Memory: two tiles a thread; C x O sums a slot in the gradient, and a tile's product a thread.
#include "cpu/linear.h"

#include "cpu/openmp.h"

#include "cpu/channel_rows.h"
#include "cpu/kernels.h"
#include "cpu/outer_product.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

template <class T>
void forward(const LinearFwd& a) {
  const LinearShape& s = a.shape;
  fill_rows(s.c, s.o, s.o_wide, a.packed,
            [&](Index c, Index o, auto lanes) { return load(a.weight + c * s.o + o, lanes); });
  const Index tiles = ceil_div(s.rows, kLinearTile);
#pragma omp parallel for num_threads(s.threads) schedule(static) if (tiles > 1)
  for (Index tile = 0; tile < tiles; ++tile) {
    float* in = a.scratch + omp_get_thread_num() * kLinearTile * (s.c_wide + s.o_wide);
    float* out = in + kLinearTile * s.c_wide;
    const Index first = tile * kLinearTile, count = min_of(kLinearTile, s.rows - first);
    const float* rows = rows_as<float>(at<T>(a.x, first * s.c), count, s.c, s.c_wide, in);
    gemm(count, s.o_wide / kLanes, s.c, {rows, s.c_wide}, {a.packed, s.o_wide}, out, s.o_wide,
         {nullptr, false, a.bias});
    const T* residual = a.residual ? at<T>(a.residual, first * s.o) : nullptr;
    fill_rows(count, s.o, s.o, static_cast<T*>(a.y) + first * s.o, [&](Index p, Index o, auto lanes) {
      const Vec value = load(out + p * s.o_wide + o, AllLanes{});
      return residual ? value + load(residual + p * s.o + o, lanes) : value;
    });
  }
}

template <class T>
void gradient(const LinearGradWeight& a) {
  const LinearShape& s = a.shape;
  const Index products = s.c_wide * s.o_wide, size = products + s.o_wide;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic) if (a.slots > 1)
  for (Index slot = 0; slot < a.slots; ++slot) {
    float* in = a.scratch + omp_get_thread_num() * (kLinearTile * (s.c_wide + s.o_wide) + products);
    float *out = in + kLinearTile * s.c_wide, *of_tile = out + kLinearTile * s.o_wide;
    float *sums = a.partial + slot * size, *bias = sums + products;
    for (Index i = 0; i < size; i += kLanes) store(sums + i, Vec{}, AllLanes{});
    const Index end = (slot + 1) * s.rows / a.slots;
    for (Index first = slot * s.rows / a.slots; first < end; first += kLinearTile) {
      const Index count = min_of(kLinearTile, end - first);
      const float* rows = rows_as<float>(at<T>(a.x, first * s.c), count, s.c, s.c_wide, in);
      const float* grads = rows_as<float>(at<T>(a.grad, first * s.o), count, s.o, s.o_wide, out);
      outer_product(count, {rows, s.c_wide}, s.c_wide, {grads, s.o_wide}, s.o_wide, of_tile, s.o_wide, false);
      for (Index i = 0; i < products; i += kLanes) {
        store(sums + i, load(sums + i, AllLanes{}) + load(of_tile + i, AllLanes{}), AllLanes{});
      }
      for (Index o = 0; o < s.o_wide; o += kLanes) {
        Vec total{};
        for (Index p = 0; p < count; ++p) total += load(grads + p * s.o_wide + o, AllLanes{});
        store(bias + o, load(bias + o, AllLanes{}) + total, AllLanes{});
      }
    }
  }
  for (Index row = 0; row <= s.c; ++row) {  // the last one is the bias'
    float* to = row < s.c ? a.grad_weight + row * s.o : a.grad_bias;
    const float* from = a.partial + (row < s.c ? row : s.c_wide) * s.o_wide;
    for (Index o = 0; o < s.o; ++o) {
      double total = 0;
      for (Index slot = 0; slot < a.slots; ++slot) total += from[slot * size + o];
      to[o] = float(total);
    }
  }
}

}  // namespace

void launch_linear_fwd(const LinearFwd& a) { a.shape.dtype == DType::bfloat16 ? forward<bf16>(a) : forward<float>(a); }

void launch_linear_grad_weight(const LinearGradWeight& a) {
  a.shape.dtype == DType::bfloat16 ? gradient<bf16>(a) : gradient<float>(a);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
