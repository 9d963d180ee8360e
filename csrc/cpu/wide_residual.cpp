// Forward of the AWRU: y = x_scale * x + res_scale * gate * f with f = conv2(relu(conv1(x))), and the mean of y.
//
// Algorithm: both 3x3 convolutions by Winograd F(4x4, 3x3), as in cpu/conv3x3.cpp, fused so that the wide map between
// them never goes to memory. A map is cut into panels of columns and these into segments of rows of tiles; a ring
// keeps the last three rows of tiles of the wide map, which is all that a row of tiles of the output needs
// (cpu/wide_residual_strip.h). The epilogue adds the residual and leaves a partial sum of y a row of tiles.
//
// Parallel: OpenMP over images, segments and panels. Neighbouring segments both compute the rows of tiles of the wide
// map at their common border; partial sums are added in order, in double, so results don't depend on the number of
// threads.
//
// Memory: a ring and the points of a row of tiles a thread, which stay in its L2 cache.
#include "cpu/wide_residual.h"

#include "cpu/openmp.h"

#include "cpu/kernels.h"
#include "cpu/wide_residual_strip.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

template <class Kept>
struct Scratch {
  Ring<Kept> ring;  // the wide map's rows of tiles above, here and below
  float* points;
  Scratch(const WideResidualShape& s, Workspace& space) : ring(s, 3, space) { points = space.take(strip_scratch(s)); }
};

template <class T, class Arithmetic = typename ArithmeticOf<T>::Type>
void forward(const WideResidualFwd& a) {
  const WideResidualShape& s = a.shape;
  const Index down = tiles_in(s.h), size = wide_residual_fwd_scratch(s);
  const T* x = static_cast<const T*>(a.x);
  T *y = static_cast<T*>(a.y), *f = static_cast<T*>(a.f);
  const float x_scale = *a.x_scale, res_scale = *a.res_scale;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic)
  for (Index item = 0; item < s.n * s.segments * s.panels; ++item) {
    const Index index = item % s.panels, segment = item / s.panels % s.segments;
    const Index image = item / s.panels / s.segments;
    Workspace space{a.scratch + omp_get_thread_num() * size};
    const Scratch<typename Arithmetic::Kept> scratch(s, space);
    Arithmetic arithmetic;
    const Panel panel(s, index);
    const Index begin = segment * down / s.segments, end = (segment + 1) * down / s.segments;
    Index ready = max_of(begin - 1, 0);
    for (Index tile_row = begin; tile_row < end; ++tile_row) {
      for (; ready < min_of(tile_row + 2, down); ++ready) {
        convolve_into_ring(s, x + image * s.h * s.w * s.c, a.weights1, panel, ready * kWinoTile, scratch.ring,
                           arithmetic, scratch.points,
                           [&](Values& values, Index k, Index, Index) { rectify(values, a.bias1 + k); });
      }
      float* sums = a.partial + ((image * down + tile_row) * s.panels + index) * s.c_wide;
      Vec total{};
      const auto put = [&](Index row, Index column, Index c, const Values& values, auto part, auto lanes) {
        const Index step = s.c, line = s.w * step, place = (image * s.h + row) * line + column * step + c;
        const Vec bias = load(a.bias2 + c, AllLanes{});
        const Vec gate = res_scale * (a.gate ? load(a.gate + image * s.c + c, lanes) : splat(1));
        Vec sum{};
#pragma GCC unroll 4
        for (Index r = 0; r < part.height; ++r) {
          const T* from = opaque(x + place + r * line);
          T *to = opaque(y + place + r * line), *kept = f ? f + place + r * line : nullptr;
#pragma GCC unroll 4
          for (Index u = 0; u < part.width; ++u) {
            Vec value = values[r][u] + bias;
            if (kept) store(kept + u * step, value, lanes);
            value = x_scale * load(from + u * step, lanes) + gate * value;
            store(to + u * step, value, lanes);
            sum += value;
          }
        }
        total += sum;
      };
      const auto done = [&](Index c) {
        store(sums + c, total, AllLanes{});
        total = Vec{};
      };
      const Index top = tile_row * kWinoTile, plane = image * s.h * s.w * s.c;
      const auto seen = Prefetch<false>::of(x + plane, top, panel.begin, panel.end, s.h, s.w, s.c);
      const auto made = Prefetch<true>::of(y + plane, top, panel.begin, panel.end, s.h, s.w, s.c);
      const auto prefetch = [&](Index point) {
        seen.issue(point);
        made.issue(point);
      };
      convolve_from_ring(s, a.weights2, panel, top, scratch.ring, arithmetic, scratch.points, prefetch, put, done);
    }
  }
  const Index parts = down * s.panels;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index i = 0; i < s.n * s.c; ++i) {
    double total = 0;
    for (Index part = 0; part < parts; ++part) {
      total += a.partial[(i / s.c * parts + part) * s.c_wide + i % s.c];
    }
    a.mean[i] = float(total / double(s.h * s.w));
  }
}

}  // namespace

Index wide_residual_fwd_scratch(const WideResidualShape& shape) {
  Workspace space{nullptr};
  const Scratch<float> counted(shape, space);  // the largest
  return space.used;
}

void launch_wide_residual_fwd(const WideResidualFwd& a) {
  if (a.shape.dtype == DType::bfloat16) {
    forward<bf16>(a);
  } else {
    forward<float>(a);
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
