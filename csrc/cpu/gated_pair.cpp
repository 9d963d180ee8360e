#include "cpu/gated_pair.h"

#include <omp.h>

#include "cpu/channel_rows.h"
#include "cpu/kernels.h"
#include "cpu/outer_product.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

#if defined(__AVX512BF16__)
using Bf16Product = Pairs;
#else
using Bf16Product = Singles;
#endif

inline float gate_of(const float* gate, const GatedPairShape& s, std::int64_t image, std::int64_t channel) {
  return gate ? gate[image * 2 * s.c + channel] : 1.0f;
}

// The gates go into the weights, of which there are few: row `o` of one map's, padded, zero beyond the last output.
template <class Arguments, class Number>
inline void folded_row(const Arguments& a, std::int64_t image, std::int64_t map, std::int64_t o, Number* to) {
  const GatedPairShape& s = a.shape;
  const float* weight = a.weight + (o * 2 + map) * s.c;
  const float* gate = a.gate ? a.gate + (image * 2 + map) * s.c : nullptr;
  fill_rows(1, o < s.o ? s.c : 0, s.c_wide, to, [&](std::int64_t, std::int64_t c, auto lanes) {
    return load(weight + c, lanes) * (gate ? load(gate + c, lanes) : splat(1));
  });
}

template <class T, class Product>
void forward(const GatedPairFwd& a) {
  using Number = typename Product::Number;
  const GatedPairShape& s = a.shape;
  const std::int64_t tiles = (s.hw + kPairTile - 1) / kPairTile;
  const std::int64_t k = places(s.c, Product::kCount), folded = s.c_wide / Product::kCount * s.o_wide;
#pragma omp parallel num_threads(s.threads)
  {
    float* out = a.scratch + omp_get_thread_num() * gated_pair_scratch(s);
    float* in = out + kPairTile * s.o_wide;
#pragma omp for schedule(static)
    for (std::int64_t map = 0; map < s.n * 2; ++map) {
      for (std::int64_t o = 0; o < s.o_wide; ++o) {
        folded_row(a, map / 2, map % 2, o, reinterpret_cast<Number*>(in));
        for (std::int64_t c = 0; c < k; ++c) a.folded[map * folded + c * s.o_wide + o] = in[c];
      }
    }
#pragma omp for schedule(static)
    for (std::int64_t item = 0; item < s.n * tiles; ++item) {
      const std::int64_t image = item / tiles, first = item % tiles * kPairTile;
      const std::int64_t count = lesser(kPairTile, s.hw - first), position = image * s.hw + first;
      for (int map = 0; map < 2; ++map) {
        const Number* rows = rows_of<Number>(at<T>(a.x[map], position * s.c), count, s.c, s.c_wide, in);
        const Matrix left{reinterpret_cast<const float*>(rows), s.c_wide / Product::kCount};
        const Matrix weight{a.folded + (image * 2 + map) * folded, s.o_wide};
        const Onto onto{nullptr, map == 1, map == 0 ? a.bias : nullptr};
        gemm<Product>(count, s.o_wide / kLanes, k, left, weight, out, s.o_wide, onto);
      }
      // What is below zero becomes it; NaN stays.
      fill_rows(count, s.o, s.o, static_cast<T*>(a.y) + position * s.o, [&](std::int64_t p, std::int64_t o, auto) {
        const Vec value = load(out + p * s.o_wide + o, AllLanes{});
        return (Vec)((VecU32)value & ~(VecU32)(value < 0.0f));
      });
    }
  }
}

// For one channel of the two maps, from its products with all outputs: the gradients of its weights and its gates.
void collect(const GatedPairBwd& a, std::int64_t channel, float* scratch) {
  const GatedPairShape& s = a.shape;
  const std::int64_t size = (2 * s.c_wide + 1) * s.o_wide;
  const std::int64_t row = (channel / s.c * s.c_wide + channel % s.c) * s.o_wide;
  float *weights = scratch, *total = scratch + s.o_wide;
  for (std::int64_t o = 0; o < s.o_wide; ++o) {
    weights[o] = o < s.o ? a.weight[o * 2 * s.c + channel] : 0.0f;
    total[o] = 0;
  }
  for (std::int64_t image = 0; image < s.n; ++image) {
    const Vec gate = splat(gate_of(a.gate, s, image, channel));
    Vec of_gate{};
    for (std::int64_t o = 0; o < s.o_wide; o += kLanes) {
      Vec products{};
      for (std::int64_t slot = 0; slot < a.slots; ++slot) {
        products += load(a.partial + (image * a.slots + slot) * size + row + o, AllLanes{});
      }
      of_gate += load(weights + o, AllLanes{}) * products;
      store(total + o, load(total + o, AllLanes{}) + gate * products, AllLanes{});
    }
    if (a.grad_gate) a.grad_gate[image * 2 * s.c + channel] = sum(of_gate, AllLanes{});
  }
  for (std::int64_t o = 0; o < s.o; ++o) a.grad_weight[o * 2 * s.c + channel] = total[o];
}

template <class T, class Product>
void backward(const GatedPairBwd& a) {
  using Number = typename Product::Number;
  const GatedPairShape& s = a.shape;
  const std::int64_t wide = 2 * s.c_wide, size = (wide + 1) * s.o_wide;
  const std::int64_t k = places(s.o, Product::kCount), folded = s.o_wide / Product::kCount * wide;
#pragma omp parallel num_threads(s.threads)
  {
    float *scratch = a.scratch + omp_get_thread_num() * gated_pair_scratch(s), *tile = scratch + kPairTile * s.o_wide;
    Number* grad = reinterpret_cast<Number*>(scratch);
#pragma omp for schedule(static)
    for (std::int64_t image = 0; image < s.n; ++image) {
      for (std::int64_t o = 0; o < s.o_wide; o += Product::kCount) {
        float* to = a.folded + image * folded + o / Product::kCount * wide;
        Number* rows = reinterpret_cast<Number*>(Product::kCount == 1 ? to : tile);
        for (std::int64_t i = 0; i < 2 * Product::kCount; ++i) {
          folded_row(a, image, i % 2, o + i / 2, rows + i * s.c_wide);
        }
        down(rows, Product::kCount, wide, to);
      }
    }
#pragma omp for schedule(dynamic)
    for (std::int64_t item = 0; item < s.n * a.slots; ++item) {
      const std::int64_t image = item / a.slots, slot = item % a.slots;
      float *sums = a.partial + item * size, *of_bias = sums + wide * s.o_wide;
      if (a.grad_weight) {
        for (std::int64_t i = 0; i < size; i += kLanes) store(sums + i, Vec{}, AllLanes{});
      }
      const std::int64_t end = (slot + 1) * s.hw / a.slots;
      for (std::int64_t first = slot * s.hw / a.slots; first < end; first += kPairTile) {
        const std::int64_t count = lesser(kPairTile, end - first), position = image * s.hw + first;
        const T *grad_y = at<T>(a.grad_y, position * s.o), *y = at<T>(a.y, position * s.o);
        fill_rows(count, s.o, s.o_wide, grad, [&](std::int64_t p, std::int64_t o, auto lanes) {
          const Vec value = load(y + p * s.o + o, lanes);
          return (Vec)((VecU32)load(grad_y + p * s.o + o, lanes) & ~(VecU32)(value <= 0.0f));
        });
        if (a.grad_weight) {
          for (std::int64_t o = 0; o < s.o_wide; o += kLanes) {
            Vec total = load(of_bias + o, AllLanes{});
            for (std::int64_t p = 0; p < count; ++p) total += load(grad + p * s.o_wide + o, AllLanes{});
            store(of_bias + o, total, AllLanes{});
          }
          const Matrix right = down(grad, count, s.o_wide, scratch + kPairTile * s.o_wide / 2);
          for (int map = 0; map < 2; ++map) {
            const Number* rows = rows_of<Number>(at<T>(a.x[map], position * s.c), count, s.c, s.c_wide, tile);
            const Matrix left = down(rows, count, s.c_wide, tile + kPairTile * s.c_wide / 2);
            outer_product<Product>(places(count, Product::kCount), left, s.c_wide, right, s.o_wide,
                                   sums + map * s.c_wide * s.o_wide, s.o_wide, true);
          }
        }
        for (int map = 0; map < 2; ++map) {
          if (!a.grad_x[map]) continue;
          const Matrix left{reinterpret_cast<const float*>(grad), s.o_wide / Product::kCount};
          const Matrix weight{a.folded + image * folded + map * s.c_wide, wide};
          gemm<Product>(count, s.c_wide / kLanes, k, left, weight, tile, s.c_wide, {nullptr, false});
          T* to = static_cast<T*>(a.grad_x[map]) + position * s.c;
          fill_rows(count, s.c, s.c, to, [&](std::int64_t p, std::int64_t c, auto) {
            return load(tile + p * s.c_wide + c, AllLanes{});
          });
        }
      }
    }
    if (a.grad_weight) {
#pragma omp for schedule(static)
      for (std::int64_t channel = 0; channel < 2 * s.c; ++channel) collect(a, channel, scratch);
    }
  }
  if (!a.grad_weight) return;
  for (std::int64_t o = 0; o < s.o; ++o) {
    float total = 0;
    for (std::int64_t i = 0; i < s.n * a.slots; ++i) total += a.partial[i * size + wide * s.o_wide + o];
    a.grad_bias[o] = total;
  }
}

}  // namespace

std::int64_t gated_pair_scratch(const GatedPairShape& s) { return kPairTile * (s.o_wide + s.c_wide); }

void launch_gated_pair_fwd(const GatedPairFwd& a) {
  a.shape.dtype == DType::bfloat16 ? forward<bf16, Bf16Product>(a) : forward<float, Singles>(a);
}

void launch_gated_pair_bwd(const GatedPairBwd& a) {
  a.shape.dtype == DType::bfloat16 ? backward<bf16, Bf16Product>(a) : backward<float, Singles>(a);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
