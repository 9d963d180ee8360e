// y = relu(W [g0 * x0 ; g1 * x1] + b) for two maps in channels_last with a gate a channel, and all its gradients.
//
// Algorithm: the gates are folded into the weight once an image, so that both passes are products of plain maps: tiles
// of 64 positions by the folded weight, one map after the other. Backward masks the gradient where y is zero,
// multiplies it by the transposed folded weight for the maps, and by the maps, position by position, for the weight;
// the gates' gradients follow from the same sums (collect()). Sums are fp32; with AVX512-BF16, factors of maps in
// bfloat16 stay bfloat16.
//
// Parallel: OpenMP over tiles in forward, over slots of an image's positions in backward. The slots depend on the
// shape alone and are added in order, so results don't depend on the number of threads.
//
// Memory: two tiles a thread, a folded weight an image, and in backward 2 C x O sums a slot.
#include "cpu/gated_pair.h"

#include "cpu/openmp.h"

#include "cpu/channel_rows.h"
#include "cpu/kernels.h"
#include "cpu/outer_product.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

#if defined(__AVX512BF16__)
using Bf16Product = Bf16Factors;
#else
using Bf16Product = Fp32Factors;
#endif

inline float gate_of(const float* gate, const GatedPairShape& s, Index image, Index channel) {
  return gate ? gate[image * 2 * s.c + channel] : 1.0f;
}

// The gates go into the weights, of which there are few: row `o` of one map's, padded, zero beyond the last output.
template <class Arguments, class Number>
inline void folded_row(const Arguments& a, Index image, Index map, Index o, Number* to) {
  const GatedPairShape& s = a.shape;
  const float* weight = a.weight + (o * 2 + map) * s.c;
  const float* gate = a.gate ? a.gate + (image * 2 + map) * s.c : nullptr;
  fill_rows(1, o < s.o ? s.c : 0, s.c_wide, to, [&](Index, Index c, auto lanes) {
    return load(weight + c, lanes) * (gate ? load(gate + c, lanes) : splat(1));
  });
}

template <class T, class Product>
void forward(const GatedPairFwd& a) {
  using Number = typename Product::Number;
  const GatedPairShape& s = a.shape;
  const Index tiles = ceil_div(s.hw, kPairTile);
  const Index k = ceil_div(s.c, Product::kCount), folded = s.c_wide / Product::kCount * s.o_wide;
#pragma omp parallel num_threads(s.threads)
  {
    float* out = a.scratch + omp_get_thread_num() * gated_pair_scratch(s);
    float* in = out + kPairTile * s.o_wide;
#pragma omp for schedule(static)
    for (Index map = 0; map < s.n * 2; ++map) {
      for (Index o = 0; o < s.o_wide; ++o) {
        folded_row(a, map / 2, map % 2, o, reinterpret_cast<Number*>(in));
        for (Index c = 0; c < k; ++c) a.folded[map * folded + c * s.o_wide + o] = in[c];
      }
    }
#pragma omp for schedule(static)
    for (Index item = 0; item < s.n * tiles; ++item) {
      const Index image = item / tiles, first = item % tiles * kPairTile;
      const Index count = min_of(kPairTile, s.hw - first), position = image * s.hw + first;
      for (int map = 0; map < 2; ++map) {
        const Number* rows = rows_as<Number>(at<T>(a.x[map], position * s.c), count, s.c, s.c_wide, in);
        const Matrix left{reinterpret_cast<const float*>(rows), s.c_wide / Product::kCount};
        const Matrix weight{a.folded + (image * 2 + map) * folded, s.o_wide};
        const Onto onto{nullptr, map == 1, map == 0 ? a.bias : nullptr};
        gemm<Product>(count, s.o_wide / kLanes, k, left, weight, out, s.o_wide, onto);
      }
      // What is below zero becomes it; NaN stays.
      fill_rows(count, s.o, s.o, static_cast<T*>(a.y) + position * s.o, [&](Index p, Index o, auto) {
        const Vec value = load(out + p * s.o_wide + o, AllLanes{});
        return (Vec)((VecU32)value & ~(VecU32)(value < 0.0f));
      });
    }
  }
}

// For one channel of the two maps, from its products with all outputs: the gradients of its weights and its gates.
void collect(const GatedPairBwd& a, Index channel, float* scratch) {
  const GatedPairShape& s = a.shape;
  const Index size = (2 * s.c_wide + 1) * s.o_wide;
  const Index row = (channel / s.c * s.c_wide + channel % s.c) * s.o_wide;
  float *weights = scratch, *total = scratch + s.o_wide;
  for (Index o = 0; o < s.o_wide; ++o) {
    weights[o] = o < s.o ? a.weight[o * 2 * s.c + channel] : 0.0f;
    total[o] = 0;
  }
  for (Index image = 0; image < s.n; ++image) {
    const Vec gate = splat(gate_of(a.gate, s, image, channel));
    Vec of_gate{};
    for (Index o = 0; o < s.o_wide; o += kLanes) {
      Vec products{};
      for (Index slot = 0; slot < a.slots; ++slot) {
        products += load(a.partial + (image * a.slots + slot) * size + row + o, AllLanes{});
      }
      of_gate += load(weights + o, AllLanes{}) * products;
      store(total + o, load(total + o, AllLanes{}) + gate * products, AllLanes{});
    }
    if (a.grad_gate) a.grad_gate[image * 2 * s.c + channel] = sum(of_gate, AllLanes{});
  }
  for (Index o = 0; o < s.o; ++o) a.grad_weight[o * 2 * s.c + channel] = total[o];
}

template <class T, class Product>
void backward(const GatedPairBwd& a) {
  using Number = typename Product::Number;
  const GatedPairShape& s = a.shape;
  const Index wide = 2 * s.c_wide, size = (wide + 1) * s.o_wide;
  const Index k = ceil_div(s.o, Product::kCount), folded = s.o_wide / Product::kCount * wide;
#pragma omp parallel num_threads(s.threads)
  {
    float *scratch = a.scratch + omp_get_thread_num() * gated_pair_scratch(s), *tile = scratch + kPairTile * s.o_wide;
    Number* grad = reinterpret_cast<Number*>(scratch);
#pragma omp for schedule(static)
    for (Index image = 0; image < s.n; ++image) {
      for (Index o = 0; o < s.o_wide; o += Product::kCount) {
        float* to = a.folded + image * folded + o / Product::kCount * wide;
        Number* rows = reinterpret_cast<Number*>(Product::kCount == 1 ? to : tile);
        for (Index i = 0; i < 2 * Product::kCount; ++i) {
          folded_row(a, image, i % 2, o + i / 2, rows + i * s.c_wide);
        }
        down(rows, Product::kCount, wide, to);
      }
    }
#pragma omp for schedule(dynamic)
    for (Index item = 0; item < s.n * a.slots; ++item) {
      const Index image = item / a.slots, slot = item % a.slots;
      float *sums = a.partial + item * size, *of_bias = sums + wide * s.o_wide;
      if (a.grad_weight) {
        for (Index i = 0; i < size; i += kLanes) store(sums + i, Vec{}, AllLanes{});
      }
      const Index end = (slot + 1) * s.hw / a.slots;
      for (Index first = slot * s.hw / a.slots; first < end; first += kPairTile) {
        const Index count = min_of(kPairTile, end - first), position = image * s.hw + first;
        const T *grad_y = at<T>(a.grad_y, position * s.o), *y = at<T>(a.y, position * s.o);
        fill_rows(count, s.o, s.o_wide, grad, [&](Index p, Index o, auto lanes) {
          const Vec value = load(y + p * s.o + o, lanes);
          return (Vec)((VecU32)load(grad_y + p * s.o + o, lanes) & ~(VecU32)(value <= 0.0f));
        });
        if (a.grad_weight) {
          for (Index o = 0; o < s.o_wide; o += kLanes) {
            Vec total = load(of_bias + o, AllLanes{});
            for (Index p = 0; p < count; ++p) total += load(grad + p * s.o_wide + o, AllLanes{});
            store(of_bias + o, total, AllLanes{});
          }
          const Matrix right = down(grad, count, s.o_wide, scratch + kPairTile * s.o_wide / 2);
          for (int map = 0; map < 2; ++map) {
            const Number* rows = rows_as<Number>(at<T>(a.x[map], position * s.c), count, s.c, s.c_wide, tile);
            const Matrix left = down(rows, count, s.c_wide, tile + kPairTile * s.c_wide / 2);
            outer_product<Product>(ceil_div(count, Product::kCount), left, s.c_wide, right, s.o_wide,
                                   sums + map * s.c_wide * s.o_wide, s.o_wide, true);
          }
        }
        for (int map = 0; map < 2; ++map) {
          if (!a.grad_x[map]) continue;
          const Matrix left{reinterpret_cast<const float*>(grad), s.o_wide / Product::kCount};
          const Matrix weight{a.folded + image * folded + map * s.c_wide, wide};
          gemm<Product>(count, s.c_wide / kLanes, k, left, weight, tile, s.c_wide, {nullptr, false});
          T* to = static_cast<T*>(a.grad_x[map]) + position * s.c;
          fill_rows(count, s.c, s.c, to,
                    [&](Index p, Index c, auto) { return load(tile + p * s.c_wide + c, AllLanes{}); });
        }
      }
    }
    if (a.grad_weight) {
#pragma omp for schedule(static)
      for (Index channel = 0; channel < 2 * s.c; ++channel) collect(a, channel, scratch);
    }
  }
  if (!a.grad_weight) return;
  for (Index o = 0; o < s.o; ++o) {
    float total = 0;
    for (Index i = 0; i < s.n * a.slots; ++i) total += a.partial[i * size + wide * s.o_wide + o];
    a.grad_bias[o] = total;
  }
}

}  // namespace

Index gated_pair_scratch(const GatedPairShape& s) { return kPairTile * (s.o_wide + s.c_wide); }

void launch_gated_pair_fwd(const GatedPairFwd& a) {
  a.shape.dtype == DType::bfloat16 ? forward<bf16, Bf16Product>(a) : forward<float, Fp32Factors>(a);
}

void launch_gated_pair_bwd(const GatedPairBwd& a) {
  a.shape.dtype == DType::bfloat16 ? backward<bf16, Bf16Product>(a) : backward<float, Fp32Factors>(a);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
