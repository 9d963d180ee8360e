// y = x_scale * x + res_scale * (gate * f) with the mean of y over the positions (eq. 1-2, 12), and all its gradients.
//
// Algorithm: one pass over the maps, bound by memory. A channel's positions are cut into chunks (ReductionCut); each
// leaves one partial sum a channel, and these are added in order. Both layouts share a loop body that walks over
// strips of vectors. Backward's sums are in double, as their terms nearly cancel.
//
// Parallel: OpenMP over images and chunks (and channels, in NCHW). The chunks depend on the shape alone, so results
// don't depend on the number of threads.
//
// Memory: one sum a channel and chunk, two in backward.
#include "cpu/double_sum.h"
#include "cpu/kernels.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// A run of `count` vectors whose starts lie `step` values apart: along a plane in NCHW, down the positions at a
// fixed group of channels in channels_last. With it one loop body serves both layouts.
struct Strip {
  Index offset, step, count;
};

constexpr Index kGroupOfChannels = 128, kPositions = 16;  // in channels_last, walked together: within L1

// Per-channel values for a strip that starts at row `nc` of [N * C]: each lane its own channel, or one for all.
template <class Lanes>
inline Vec per_channel(const float* values, Index nc, bool channels_last, float missing, Lanes lanes) {
  if (!values) return splat(missing);
  return channels_last ? load(values + nc, lanes) : splat(values[nc]);
}

// Calls body(strip, nc, lanes, sums) on every strip, in parallel, and leaves the `K` sums that it adds to for
// each channel and chunk in `partial`: K times [N, chunks, C] in channels_last, K times [N, C, chunks] in NCHW.
template <int K, class Sum, class Number, class Body>
void for_each_strip(const GatedResidualShape& s, Number* partial, Body body) {
  const Index slots = s.n * s.c * s.chunks;
  const Index items = s.channels_last ? s.n * s.chunks : slots;
#pragma omp parallel for num_threads(s.threads) schedule(static) if (items > 1)
  for (Index item = 0; item < items; ++item) {
    const Index outer = item / s.chunks;
    const Index first = item % s.chunks * s.chunk;
    const Index length = min_of(s.chunk, s.hw - first);
    if (s.channels_last) {
      for (Index group = 0; group < s.c; group += kGroupOfChannels) {
        const Index end = min_of(group + kGroupOfChannels, s.c), offset = (outer * s.hw + first) * s.c;
        Sum sums[kGroupOfChannels / kLanes][K] = {};
        // All channels of some positions before the next: then every cache line is fetched once.
        for (Index position = 0; position < length; position += kPositions) {
          const Index count = min_of(kPositions, length - position);
          for (Index c = group; c < end; c += kLanes) {
            const Strip strip{offset + position * s.c + c, s.c, count};
            if (c + kLanes <= s.c)
              body(strip, outer * s.c + c, AllLanes{}, sums[(c - group) / kLanes]);
            else
              body(strip, outer * s.c + c, SomeLanes{int(s.c - c)}, sums[(c - group) / kLanes]);
          }
        }
        for (Index c = group; c < end; c += kLanes) {
          for (int k = 0; k < K; ++k) {
            store(partial + item * s.c + c + k * slots, sums[(c - group) / kLanes][k],
                  SomeLanes{int(min_of(kLanes, s.c - c))});
          }
        }
      }
    } else {
      const Index whole = length / kLanes;
      const Index offset = outer * s.hw + first;
      const SomeLanes rest{int(length % kLanes)};
      Sum sums[K] = {}, rest_sums[K] = {};
      body(Strip{offset, kLanes, whole}, outer, AllLanes{}, sums);
      if (rest.count) body(Strip{offset + whole * kLanes, 0, 1}, outer, rest, rest_sums);
      for (int k = 0; k < K; ++k) partial[item + k * slots] = sum(sums[k], AllLanes{}) + sum(rest_sums[k], rest);
    }
  }
}

// The partial sums of one channel, added in the chunks' order. Double: there may be thousands of chunks.
template <class Number>
double sum_chunks(const GatedResidualShape& s, const Number* partial, Index nc) {
  const Index start = s.channels_last ? nc / s.c * s.chunks * s.c + nc % s.c : nc * s.chunks;
  const Index step = s.channels_last ? s.c : 1;
  double total = 0;
  for (Index k = 0; k < s.chunks; ++k) total += partial[start + k * step];
  return total;
}

template <class T>
void fwd(const GatedResidualFwd& a) {
  const GatedResidualShape& s = a.shape;
  const T* x = static_cast<const T*>(a.x);
  const T* f = static_cast<const T*>(a.f);
  T* y = static_cast<T*>(a.y);
  const Vec x_scale = splat(*a.x_scale), res_scale = splat(*a.res_scale);

  for_each_strip<1, Vec>(s, a.partial, [=](Strip strip, Index nc, auto lanes, Vec* sums) {
    const Vec f_scale = res_scale * per_channel(a.gate, nc, s.channels_last, 1, lanes);
    Vec total = sums[0];
    for (Index i = 0; i < strip.count; ++i) {
      const Index at = strip.offset + i * strip.step;
      const Vec value = x_scale * load(x + at, lanes) + f_scale * load(f + at, lanes);
      store(y + at, value, lanes);
      total += value;
    }
    sums[0] = total;
  });
  for (Index nc = 0; nc < s.n * s.c; ++nc) a.mean[nc] = float(sum_chunks(s, a.partial, nc) / double(s.hw));
}

template <class T>
void bwd(const GatedResidualBwd& a) {
  const GatedResidualShape& s = a.shape;
  const T* grad_y = static_cast<const T*>(a.grad_y);
  const T* x = static_cast<const T*>(a.x);
  const T* f = static_cast<const T*>(a.f);
  T* grad_x = static_cast<T*>(a.grad_x);
  T* grad_f = static_cast<T*>(a.grad_f);
  const Vec x_scale = splat(*a.x_scale), res_scale = splat(*a.res_scale);
  const Vec share = splat(float(1.0 / double(s.hw)));

  for_each_strip<2, DoubleSum>(s, a.partial, [=](Strip strip, Index nc, auto lanes, DoubleSum* sums) {
    const Vec from_mean = share * per_channel(a.grad_mean, nc, s.channels_last, 0, lanes);
    const Vec f_scale = res_scale * per_channel(a.gate, nc, s.channels_last, 1, lanes);
    DoubleSum times_f = sums[0], times_x = sums[1];
    for (Index i = 0; i < strip.count; ++i) {
      const Index at = strip.offset + i * strip.step;
      const Vec grad = grad_y ? load(grad_y + at, lanes) + from_mean : from_mean;
      if (grad_x) store(grad_x + at, x_scale * grad, lanes);
      if (grad_f) store(grad_f + at, f_scale * grad, lanes);
      if (f) times_f.add_product(grad, load(f + at, lanes));
      if (x) times_x.add_product(grad, load(x + at, lanes));
    }
    sums[0] = times_f;
    sums[1] = times_x;
  });

  double grad_res_scale = 0, grad_x_scale = 0;
  for (Index nc = 0; nc < s.n * s.c; ++nc) {
    const double times_f = sum_chunks(s, a.partial, nc);
    if (a.grad_gate) a.grad_gate[nc] = float(*a.res_scale * times_f);
    grad_res_scale += (a.gate ? a.gate[nc] : 1.0f) * times_f;
    grad_x_scale += sum_chunks(s, a.partial + s.n * s.c * s.chunks, nc);
  }
  if (a.grad_res_scale) *a.grad_res_scale = float(grad_res_scale);
  if (a.grad_x_scale) *a.grad_x_scale = float(grad_x_scale);
}

}  // namespace

void launch_gated_residual_fwd(const GatedResidualFwd& a) {
  a.shape.dtype == DType::bfloat16 ? fwd<bf16>(a) : fwd<float>(a);
}

void launch_gated_residual_bwd(const GatedResidualBwd& a) {
  a.shape.dtype == DType::bfloat16 ? bwd<bf16>(a) : bwd<float>(a);
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
