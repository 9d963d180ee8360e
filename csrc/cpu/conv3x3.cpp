// 3x3 convolution of up to four maps in channels_last, as one input, and the gradient of its weight.
//
// Algorithm: Winograd F(4x4, 3x3) (cpu/winograd.h, after Lavin and Gray, 2016): tiles of 4x4 outputs at 36 points, 36
// products [tiles, C] x [C, O] for up to 16 tiles of a row. fp32; with AVX512-VNNI, maps in bfloat16 are multiplied in
// fixed point (cpu/winograd_fixed.h). The weight's gradient sums up outer products at the points in fp32 and
// transforms the sums to taps at the end. The gradient of the input is this forward pass with the turned weight.
//
// Parallel: OpenMP over chunks of tiles in forward, over slots of chunks in the gradient. The slots depend on the
// shape alone and are added in order, so results don't depend on the number of threads.
//
// Memory: a thread has the points of one chunk's input and output; the gradient adds 36 C x O sums a slot.
#include "cpu/conv3x3.h"

#include "cpu/openmp.h"

#include "cpu/kernels.h"
#include "cpu/winograd_arithmetic.h"
#include "cpu/winograd_gradient.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// A part of a row of tiles: what is computed at once.
struct Chunk {
  Index image, row, left, tiles;
};

struct Cut {
  Index down, across, wide;  // rows of tiles, chunks in one, tiles in one
  explicit Cut(const Conv3x3Shape& s) {
    wide = ceil_div(s.w, kWinoTile);
    down = ceil_div(s.h, kWinoTile);
    across = ceil_div(wide, kConv3x3Chunk);
  }
  Chunk at(Index index) const {
    const Index part = index % across, line = index / across;
    const Index begin = part * wide / across, end = (part + 1) * wide / across;
    return {line / down, line % down * kWinoTile, begin * kWinoTile, end - begin};
  }
};

// The points of a chunk of all maps, their channels one after the other.
template <class T, class Arithmetic>
void points_of_maps(const Conv3x3Maps& maps, const Conv3x3Shape& s, const Chunk& chunk, Arithmetic& arithmetic,
                    float* to) {
  InputRows<T> rows[kConv3x3Maps];
  for (int i = 0; i < maps.count; ++i) {
    const Index channels = maps.channels[i];
    const T* image = static_cast<const T*>(maps.map[i]) + chunk.image * s.h * s.w * channels;
    rows[i] = rows_of<f43::kReach>(image, chunk.row - 1, s.h, s.w, channels);
  }
  arithmetic.input(rows, maps.count, chunk.left, chunk.tiles, PointLayout(s.c, s.o), to);
}

template <class T, class Arithmetic>
void forward(const Conv3x3Fwd& a) {
  const Conv3x3Shape& s = a.shape;
  const Cut cut(s);
  const PointLayout layout(s.c, s.o);
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index item = 0; item < s.n * cut.down * cut.across; ++item) {
    const Chunk chunk = cut.at(item);
    float* in = a.scratch + omp_get_thread_num() * conv3x3_scratch(s);
    float* out = in + points_of(kConv3x3Chunk, s.c_wide);
    Arithmetic arithmetic;
    points_of_maps<T>(a.x, s, chunk, arithmetic, in);
    T* made = static_cast<T*>(a.y) + chunk.image * s.h * s.w * s.o;
    const Index right = min_of(chunk.left + chunk.tiles * kWinoTile, s.w);
    const auto prefetch = Prefetch<true>::of(made, chunk.row, chunk.left, right, s.h, s.w, s.o);
    arithmetic.multiply(chunk.tiles, layout, a.weights, 0, s.o_wide, in, out,
                        [&](Index point) { prefetch.issue(point); });
    const Index step = s.o, line = s.w * step;
    for (Index tile = 0; tile < chunk.tiles; ++tile) {
      const Index column = chunk.left + tile * kWinoTile;
      for (Index o = 0; o < s.o; o += kLanes) {
        Values values;
        arithmetic.output(out + tile * s.o_wide + o, tile, stride_of(chunk.tiles, s.o_wide), values);
        const Vec bias = a.bias ? load(a.bias + o, AllLanes{}) : Vec{};
        with_part(chunk.row, s.h, column, s.w, s.o - o, [&](auto part, auto lanes) {
#pragma GCC unroll 4
          for (Index r = 0; r < part.height; ++r) {
            T* to = opaque(made + (chunk.row + r) * line + column * step + o);
#pragma GCC unroll 4
            for (Index u = 0; u < part.width; ++u) store(to + u * step, values[r][u] + bias, lanes);
          }
        });
      }
    }
  }
}

template <class T>
void gradient(const Conv3x3GradWeight& a) {
  const Conv3x3Shape& s = a.shape;
  const Cut cut(s);
  const Index points = kWinoPoints * s.c_wide * s.o_wide, size = points + s.o_wide;
  const Index chunks = s.n * cut.down * cut.across;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic)
  for (Index slot = 0; slot < a.slots; ++slot) {
    float* in = a.scratch + omp_get_thread_num() * conv3x3_scratch(s);
    float* out = in + points_of(kConv3x3Chunk, s.c_wide);
    float *sums = a.partial + slot * size, *bias = sums + points;
    for (Index o = 0; o < size; o += kLanes) store(sums + o, Vec{}, AllLanes{});
    for (Index i = slot * chunks / a.slots; i < (slot + 1) * chunks / a.slots; ++i) {
      const Chunk chunk = cut.at(i);
      const T* grads = static_cast<const T*>(a.grad) + chunk.image * s.h * s.w * s.o;
      const auto grad = rows_of<f43::kTile>(grads, chunk.row, s.h, s.w, s.o);
      InFloat arithmetic;
      points_of_maps<T>(a.x, s, chunk, arithmetic, in);
      gradient_points(grad, chunk.left, chunk.tiles, s.o_wide, out, stride_of(chunk.tiles, s.o_wide));
      add_products(chunk.tiles, s.c_wide, in, s.o_wide, out, sums, s.o_wide, s.c_wide * s.o_wide);
      add_sums(grad, chunk.left, chunk.left + chunk.tiles * kWinoTile, bias);
    }
  }
  add_slots(a.partial, a.slots, size, s.threads);
  collect_taps(a.partial, s.c, s.c_wide, s.o, s.o_wide, a.grad_weight, s.threads);
  for (Index o = 0; o < s.o; ++o) a.grad_bias[o] = a.partial[points + o];
}

}  // namespace

Index conv3x3_scratch(const Conv3x3Shape& s) {
  return points_of(kConv3x3Chunk, s.c_wide) + points_of(kConv3x3Chunk, s.o_wide);
}

Index conv3x3_prepared_size(Index c, Index o) { return PointLayout(c, o).size(); }

void launch_conv3x3_prepare(const Conv3x3Weights& a) {
  const PointLayout layout(a.c, a.o);
#pragma omp parallel for num_threads(a.threads) schedule(static)
  for (Index c = 0; c < layout.c_wide; ++c) {
    for (Index o = 0; o < layout.o_wide; o += kLanes) {
      const SomeLanes lanes{int(c >= a.c || o >= a.o ? 0 : a.o - o < kLanes ? a.o - o : kLanes)};
      Vec columns[f43::kTaps][f43::kPoints] = {};
      for (int k = 0; k < f43::kTaps; ++k) {
        for (int l = 0; l < f43::kTaps; ++l) {
          const Vec tap = load(a.weight + ((k * f43::kTaps + l) * a.c + c) * a.o + o, lanes);
          for (int q = 0; q < f43::kPoints; ++q) columns[k][q] += f43::kWeights.values[q][l] * tap;
        }
      }
      for (int p = 0; p < f43::kPoints; ++p) {
        for (int q = 0; q < f43::kPoints; ++q) {
          Vec value{};
          for (int k = 0; k < f43::kTaps; ++k) value += f43::kWeights.values[p][k] * columns[k][q];
          store(a.prepared + ((p * f43::kPoints + q) * layout.c_wide + c) * layout.o_wide + o, value, AllLanes{});
        }
      }
    }
  }
#pragma omp parallel for num_threads(a.threads) schedule(static)
  for (Index p = 0; p < kWinoPoints; ++p) fix_weights(layout, p, a.prepared);
}

void launch_conv3x3_fwd(const Conv3x3Fwd& a) {
  if (a.shape.dtype != DType::bfloat16) {
    forward<float, InFloat>(a);
  } else if (ArithmeticOf<bf16>::Type::fits(a.x.count, a.x.channels)) {
    forward<bf16, ArithmeticOf<bf16>::Type>(a);
  } else {
    forward<bf16, InFloat>(a);
  }
}

void launch_conv3x3_grad_weight(const Conv3x3GradWeight& a) {
  if (a.shape.dtype == DType::bfloat16) {
    gradient<bf16>(a);
  } else {
    gradient<float>(a);
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
