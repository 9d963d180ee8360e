// How awms' work is cut, and what its kernels compute from a weight as it is.
#pragma once

#include <vector>

#include "cpu/awms_cut.h"
#include "cpu/call.h"

namespace awsrn_fast {

inline void plan(AwmsShape& shape) {
  check_call("awms", {shape.n, shape.c, shape.o, shape.h, shape.w}, shape.dtype, shape.threads);
  shape.cut = awms_cut(shape.n, shape.c, shape.o, shape.h, shape.w);
}

struct AwmsChannels {
  Index c, o;
};

// Floats of the transformed weight.
inline Index awms_points_size(const AwmsChannels& a) {
  return kAwmsPoints * kAwmsPoints * awms_wide(a.c) * awms_wide(a.o);
}

inline void awms_prepare(AwmsWeights call) {
  AWSRN_FAST_CHECK(call.k % 2 == 1 && call.k <= kAwmsTaps, "awms: the kernel's side must be odd and at most 9");
  call.c_wide = awms_wide(call.c);
  call.o_wide = awms_wide(call.o);
  kernels().launch_awms_prepare(call);
}

inline Buffer awms_points(const float* weight, Index k, const AwmsShape& shape) {
  Buffer points(awms_points_size({shape.c, shape.o}));
  awms_prepare({weight, k, points.data(), shape.c, shape.o, shape.threads, 0, 0});
  return points;
}

inline void awms_run(const AwmsShape& shape, const void* x, const float* points, const AwmsOutput& out) {
  const Buffer scratch(awms_scratch(shape, false));
  kernels().launch_awms_conv({shape, x, points, out, scratch.data()});
}

struct AwmsConvCall {
  AwmsShape shape;
  Index k;
  const void* x;        // [N, H, W, C]
  const float* weight;  // [K, K, C, O]
  void* y;              // [N, H, W, O]
};

// The convolution alone, in the maps' layout: the gradient of the input is one, too.
inline void awms_conv(AwmsConvCall call) {
  plan(call.shape);
  const Buffer points = awms_points(call.weight, call.k, call.shape);
  awms_run(call.shape, call.x, points.data(), {call.y, nullptr, 0, 0, 0, nullptr, nullptr, 1, false, false});
}

struct AwmsFwdCall {
  AwmsShape shape;
  Index k, scale;
  float out_scale;
  bool clamp, levels;
  bool channels_last;   // y is [N, scale * H, scale * W, P], else [N, P, scale * H, scale * W]
  const void* x;        // [N, H, W, C]
  const float* weight;  // [K, K, C, O], or null: points are given
  const float* points;  // as awms_prepare() made them
  const float* shift;   // [O]
  const void* skip;     // [N, H, W, O], or null for 0
  void* y;
};

inline void awms_fwd(AwmsFwdCall call) {
  plan(call.shape);
  const Index o = call.shape.o, scale = call.scale, square = scale * scale;
  AWSRN_FAST_CHECK(scale >= 1 && o % square == 0, "awms: the square of scale must divide o");
  const Index planes = o / square, wide = call.shape.w * scale, high = call.shape.h * scale;
  // Strides of the output between planes, rows and columns.
  const Index plane = call.channels_last ? 1 : high * wide, row = call.channels_last ? wide * planes : wide;
  const Index column = call.channels_last ? planes : 1;
  std::vector<Index> offset(o);
  for (Index i = 0; i < o; ++i) {
    offset[i] = i / square * plane + i / scale % scale * row + i % scale * column;
  }
  const Buffer made = call.weight ? awms_points(call.weight, call.k, call.shape) : Buffer(0);
  awms_run(call.shape, call.x, call.weight ? made.data() : call.points,
           {call.y, offset.data(), planes * high * wide, scale * row, scale * column, call.shift, call.skip,
            call.out_scale, call.clamp, call.levels});
}

inline void awms_grad_weight(AwmsGradWeight call) {
  plan(call.shape);
  const Buffer scratch(awms_scratch(call.shape, true));
  call.scratch = scratch.data();
  kernels().launch_awms_grad_weight(call);
}

}  // namespace awsrn_fast
