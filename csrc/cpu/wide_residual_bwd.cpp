// Backward of the AWRU's convolutions: the gradients of x and of both weights and biases, from that of f.
//
// Algorithm: as forward, in panels and segments. For each band of rows of tiles the wide map is computed again, in
// fp32, and its gradient by the turned second weight, masked where the ReLU was closed; both stay in rings. From the
// bands come x's gradient, by the turned first weight, and outer products at the 36 Winograd points for the weights,
// which are transformed to taps at the end (cpu/winograd_gradient.h).
//
// Parallel: OpenMP over slots of segments. The slots depend on the shape alone and are added in order, so results
// don't depend on the number of threads.
//
// Memory: two rings of a band and the points of its tiles a thread; 36 C x K sums for each weight a slot.
#include "cpu/openmp.h"

#include "cpu/kernels.h"
#include "cpu/wide_residual.h"
#include "cpu/wide_residual_strip.h"
#include "cpu/winograd_gradient.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

constexpr Index kGradientBlock = 32;  // wide channels whose products are summed up at once

// Rows of tiles whose products are added to the sums at once: the sums pass through the caches for every band.
inline Index band_of(const WideResidualShape& s) { return max_of(1, 48 / widest(s)); }

template <class Kept>
struct Scratch {
  // A band of the wide map and of its gradient, with the row of tiles above and the one below. The map is computed in
  // fp32: where a value changes its sign, the gradient changes by all that passes there.
  Ring<float> wide;
  Ring<Kept> grad;
  float *points, *narrow_input, *narrow_grad, *wide_points;
  Scratch(const WideResidualShape& s, Workspace& space)
      : wide(s, band_of(s) + 2, space), grad(s, band_of(s) + 2, space) {
    const Index tiles = band_of(s) * widest(s);
    points = space.take(strip_scratch(s));
    narrow_input = space.take(points_of(tiles, s.c_wide));
    narrow_grad = space.take(points_of(tiles, s.c_wide));
    wide_points = space.take(points_of(tiles, min_of(kGradientBlock, s.k_wide)));
  }
};

// Both weights' gradients from `count` rows of tiles from `first` on.
template <class T, class Kept>
void add_weight_gradients(const WideResidualBwd& a, Index image, const Panel& panel, Index first, Index count,
                          const Scratch<Kept>& scratch, float* sums1, float* sums2) {
  const WideResidualShape& s = a.shape;
  const Index side = panel.tiles(), tiles = count * side;
  const T* x = static_cast<const T*>(a.x) + image * s.h * s.w * s.c;
  const T* grad = static_cast<const T*>(a.grad) + image * s.h * s.w * s.c;
  float *bias1 = sums1 + kWinoPoints * s.c_wide * s.k_wide, *bias2 = sums2 + kWinoPoints * s.k_wide * s.c_wide;
  for (Index i = 0; i < count; ++i) {
    const Index row = (first + i) * kWinoTile, place = i * side * s.c_wide;
    const auto grads = rows_of<f43::kTile>(grad, row, s.h, s.w, s.c);
    input_points(rows_of<f43::kReach>(x, row - 1, s.h, s.w, s.c), panel.begin, side, s.c_wide,
                 scratch.narrow_input + place, stride_of(tiles, s.c_wide));
    gradient_points(grads, panel.begin, side, s.c_wide, scratch.narrow_grad + place, stride_of(tiles, s.c_wide));
    add_sums(grads, panel.begin, panel.end, bias2);
    add_sums(scratch.grad.template at<f43::kTile>(s, panel, row, 0, s.k_wide), panel.begin, panel.end, bias1);
  }
  for (Index k = 0; k < s.k_wide; k += kGradientBlock) {
    const Index block = min_of(kGradientBlock, s.k_wide - k);
    for (Index i = 0; i < count; ++i) {
      const auto rows = scratch.wide.template at<f43::kReach>(s, panel, (first + i) * kWinoTile - 1, k, block);
      input_points(rows, panel.begin, side, block, scratch.wide_points + i * side * block, stride_of(tiles, block));
    }
    add_products(tiles, block, scratch.wide_points, s.c_wide, scratch.narrow_grad, sums2 + k * s.c_wide, s.c_wide,
                 s.k_wide * s.c_wide);
    for (Index i = 0; i < count; ++i) {
      const auto rows = scratch.grad.template at<f43::kTile>(s, panel, (first + i) * kWinoTile, k, block);
      gradient_points(rows, panel.begin, side, block, scratch.wide_points + i * side * block, stride_of(tiles, block));
    }
    add_products(tiles, s.c_wide, scratch.narrow_input, block, scratch.wide_points, sums1 + k, s.k_wide,
                 s.c_wide * s.k_wide);
  }
}

template <class T, class Arithmetic>
void segment_gradients(const WideResidualBwd& a, Index item, const Scratch<typename Arithmetic::Kept>& scratch,
                       float* sums1, float* sums2) {
  const WideResidualShape& s = a.shape;
  const Index index = item % s.panels, segment = item / s.panels % s.segments;
  const Index image = item / s.panels / s.segments, down = tiles_in(s.h), band = band_of(s);
  const Panel panel(s, index);
  const T* x = static_cast<const T*>(a.x) + image * s.h * s.w * s.c;
  const T* grad = static_cast<const T*>(a.grad) + image * s.h * s.w * s.c;
  T* grad_x = static_cast<T*>(a.grad_x);
  const Index begin = segment * down / s.segments, end = (segment + 1) * down / s.segments;
  Index ready = max_of(begin - 1, 0);
  InFloat in_float;
  Arithmetic arithmetic;
  for (Index first = begin; first < end; first += band) {
    const Index count = min_of(band, end - first);
    for (; ready < min_of(first + count + 1, down); ++ready) {
      convolve_into_ring(s, x, a.weights1, panel, ready * kWinoTile, scratch.wide, in_float, scratch.points,
                         [&](Values& values, Index k, Index, Index) { rectify(values, a.bias1 + k); });
      convolve_into_ring(
          s, grad, a.weights2_back, panel, ready * kWinoTile, scratch.grad, arithmetic, scratch.points,
          [&](Values& values, Index, Index row, Index place) {
#pragma GCC unroll 4
            for (int r = 0; r < f43::kTile; ++r) {
              for_each_strided<f43::kTile>(
                  scratch.wide.values + (row + r) * scratch.wide.line + place, s.k_wide,
                  [&](int u, const float* at) { values[r][u] = load(at, AllLanes{}) > Vec{} ? values[r][u] : Vec{}; });
            }
          });
    }
    if (sums1) add_weight_gradients<T>(a, image, panel, first, count, scratch, sums1, sums2);
    for (Index i = 0; grad_x && i < count; ++i) {
      const auto put = [&](Index row, Index column, Index c, const Values& values, auto part, auto lanes) {
        const Index step = s.c, line = s.w * step;
        T* corner = grad_x + (image * s.h + row) * line + column * step + c;
#pragma GCC unroll 4
        for (Index r = 0; r < part.height; ++r) {
          T* to = opaque(corner + r * line);
#pragma GCC unroll 4
          for (Index u = 0; u < part.width; ++u) {
            store(to + u * step, load(to + u * step, lanes) + values[r][u], lanes);
          }
        }
      };
      const Index top = (first + i) * kWinoTile;
      const auto sum = Prefetch<true>::of(grad_x + image * s.h * s.w * s.c, top, panel.begin, panel.end, s.h, s.w, s.c);
      const auto prefetch = [&](Index point) { sum.issue(point); };
      convolve_from_ring(s, a.weights1_back, panel, top, scratch.grad, arithmetic, scratch.points, prefetch, put,
                         [](Index) {});
    }
  }
}

template <class T, class Arithmetic = typename ArithmeticOf<T>::Type>
void backward(const WideResidualBwd& a) {
  const WideResidualShape& s = a.shape;
  const Index items = s.n * s.panels * s.segments, products = kWinoPoints * s.c_wide * s.k_wide;
  const Index size = wide_residual_bwd_scratch(s), size1 = products + s.k_wide, size2 = products + s.c_wide;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic)
  for (Index slot = 0; slot < a.slots; ++slot) {
    Workspace space{a.scratch + omp_get_thread_num() * size};
    const Scratch<typename Arithmetic::Kept> scratch(s, space);
    float *sums1 = nullptr, *sums2 = nullptr;
    if (a.grad_w1) {
      sums1 = a.partial1 + slot * size1;
      sums2 = a.partial2 + slot * size2;
      for (Index i = 0; i < size1; i += kLanes) store(sums1 + i, Vec{}, AllLanes{});
      for (Index i = 0; i < size2; i += kLanes) store(sums2 + i, Vec{}, AllLanes{});
    }
    for (Index item = slot * items / a.slots; item < (slot + 1) * items / a.slots; ++item) {
      segment_gradients<T, Arithmetic>(a, item, scratch, sums1, sums2);
    }
  }
  if (!a.grad_w1) return;
  add_slots(a.partial1, a.slots, size1, s.threads);
  add_slots(a.partial2, a.slots, size2, s.threads);
  collect_taps(a.partial1, s.c, s.c_wide, s.k, s.k_wide, a.grad_w1, s.threads);
  collect_taps(a.partial2, s.k, s.k_wide, s.c, s.c_wide, a.grad_w2, s.threads);
  for (Index k = 0; k < s.k; ++k) a.grad_b1[k] = a.partial1[products + k];
  for (Index c = 0; c < s.c; ++c) a.grad_b2[c] = a.partial2[products + c];
}

}  // namespace

Index wide_residual_bwd_scratch(const WideResidualShape& shape) {
  Workspace space{nullptr};
  const Scratch<float> counted(shape, space);  // the largest
  return space.used;
}

void launch_wide_residual_bwd(const WideResidualBwd& a) {
  if (a.shape.dtype == DType::bfloat16) {
    backward<bf16>(a);
  } else {
    backward<float>(a);
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
