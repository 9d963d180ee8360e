#include "cpu/wide_residual.h"

#include <omp.h>

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
  const std::int64_t down = tiles_in(s.h), size = wide_residual_fwd_scratch(s);
  const T* x = static_cast<const T*>(a.x);
  T *y = static_cast<T*>(a.y), *f = static_cast<T*>(a.f);
  const float x_scale = *a.x_scale, res_scale = *a.res_scale;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic)
  for (std::int64_t item = 0; item < s.n * s.segments * s.panels; ++item) {
    const std::int64_t index = item % s.panels, segment = item / s.panels % s.segments;
    const std::int64_t image = item / s.panels / s.segments;
    Workspace space{a.scratch + omp_get_thread_num() * size};
    const Scratch<typename Arithmetic::Kept> scratch(s, space);
    Arithmetic arithmetic;
    const Panel panel(s, index);
    const std::int64_t begin = segment * down / s.segments, end = (segment + 1) * down / s.segments;
    std::int64_t ready = greater(begin - 1, 0);
    for (std::int64_t tile_row = begin; tile_row < end; ++tile_row) {
      for (; ready < lesser(tile_row + 2, down); ++ready) {
        widen(s, x + image * s.h * s.w * s.c, a.weights1, panel, ready * kWinoTile, scratch.ring, arithmetic, scratch.points,
              [&](Values& values, std::int64_t k, std::int64_t, std::int64_t) { rectify(values, a.bias1 + k); });
      }
      float* sums = a.partial + ((image * down + tile_row) * s.panels + index) * s.c_wide;
      Vec total{};
      const auto put = [&](std::int64_t row, std::int64_t column, std::int64_t c, const Values& values, auto part,
                           auto lanes) {
        const std::int64_t step = s.c, line = s.w * step, place = (image * s.h + row) * line + column * step + c;
        const Vec bias = load(a.bias2 + c, AllLanes{});
        const Vec gate = res_scale * (a.gate ? load(a.gate + image * s.c + c, lanes) : splat(1));
        Vec sum{};
#pragma GCC unroll 4
        for (std::int64_t r = 0; r < part.height; ++r) {
          const T* from = anew(x + place + r * line);
          T *to = anew(y + place + r * line), *kept = f ? f + place + r * line : nullptr;
#pragma GCC unroll 4
          for (std::int64_t u = 0; u < part.width; ++u) {
            Vec value = values[r][u] + bias;
            if (kept) store(kept + u * step, value, lanes);
            value = x_scale * load(from + u * step, lanes) + gate * value;
            store(to + u * step, value, lanes);
            sum += value;
          }
        }
        total += sum;
      };
      const auto done = [&](std::int64_t c) {
        store(sums + c, total, AllLanes{});
        total = Vec{};
      };
      const std::int64_t top = tile_row * kWinoTile, plane = image * s.h * s.w * s.c;
      const auto seen = Soon<false>::of(x + plane, top, panel.begin, panel.end, s.h, s.w, s.c);
      const auto made = Soon<true>::of(y + plane, top, panel.begin, panel.end, s.h, s.w, s.c);
      const auto soon = [&](std::int64_t point) {
        seen.ask(point);
        made.ask(point);
      };
      narrow(s, a.weights2, panel, top, scratch.ring, arithmetic, scratch.points, soon, put, done);
    }
  }
  const std::int64_t parts = down * s.panels;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (std::int64_t i = 0; i < s.n * s.c; ++i) {
    double total = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      total += a.partial[(i / s.c * parts + part) * s.c_wide + i % s.c];
    }
    a.mean[i] = float(total / double(s.h * s.w));
  }
}

}  // namespace

std::int64_t wide_residual_fwd_scratch(const WideResidualShape& shape) {
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
