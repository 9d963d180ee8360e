// How wide_residual's work is cut, and what its kernels compute from weights as they are.
#pragma once

#include "cpu/conv3x3_call.h"

namespace awsrn_fast {

// Segments of each of `panels` panels of `down` rows of tiles, at least four in each: as many as give `items` in all.
inline Index segments_for_items(Index items, Index panels, Index down) {
  const Index most = std::max<Index>(1, down / 4);
  return std::clamp<Index>(ceil_div(items, std::max<Index>(1, panels)), 1, most);
}

// The number of segments that finishes soonest on `threads` threads. A segment computes two rows more of the wide map,
// which cost as much as one of both.
inline Index segments_for_threads(Index threads, Index panels, Index down) {
  Index best = 1, least = ceil_div(panels, threads) * down;
  for (Index segments = 2; segments <= down / 4; ++segments) {
    const Index time = ceil_div(panels * segments, threads) * (ceil_div(down, segments) + 1);
    if (time >= least) continue;
    best = segments;
    least = time;
  }
  return best;
}

using Segments = Index (*)(Index items_or_threads, Index panels, Index down);

inline void plan(WideResidualShape& shape, Segments segments_for, Index items) {
  check_call("wide_residual", {shape.n, shape.c, shape.k, shape.h, shape.w}, shape.dtype, shape.threads);
  shape.c_wide = round_up(shape.c, kConv3x3Vector);
  shape.k_wide = round_up(shape.k, kConv3x3Vector);
  shape.panels = std::max<Index>(1, ceil_div(shape.w, 4 * kWideChunk));
  shape.segments = segments_for(items, shape.n * shape.panels, ceil_div(shape.h, 4));
}

struct WideResidualFwdCall {
  WideResidualShape shape;
  const void* x;           // [N, H, W, C]
  const float* w1;         // [3, 3, C, K]; null, as w2: both are prepared
  const float* w2;         // [3, 3, K, C]
  const float* prepared;   // w1 and, behind it, w2 as conv3x3_prepare() made them
  const float* b1;         // [K]
  const float* b2;         // [C]
  const float* gate;       // [N, C], or null for 1
  const float* x_scale;    // [1]
  const float* res_scale;  // [1]
  void* y;                 // [N, H, W, C]
  void* f;                 // [N, H, W, C], the second convolution's output; may be null
  float* mean;             // [N, C]
};

inline void wide_residual_fwd(WideResidualFwdCall call) {
  plan(call.shape, segments_for_threads, call.shape.threads);
  const WideResidualShape& s = call.shape;
  const Buffer bias1 = padded_bias(call.b1, s.k, s.k_wide), bias2 = padded_bias(call.b2, s.c, s.c_wide);
  const Buffer partial(s.n * ceil_div(s.h, 4) * s.panels * s.c_wide);
  const Buffer scratch(s.threads * kernels().wide_residual_fwd_scratch(s));
  const Buffer made1 = call.w1 ? conv3x3_prepared(call.w1, s.c, s.k, s.threads) : Buffer(0);
  const Buffer made2 = call.w2 ? conv3x3_prepared(call.w2, s.k, s.c, s.threads) : Buffer(0);
  const float* weights1 = call.w1 ? made1.data() : call.prepared;
  const float* weights2 = call.w2 ? made2.data() : call.prepared + conv3x3_prepared_size({s.c, s.k});
  kernels().launch_wide_residual_fwd({s, call.x, weights1, bias1.data(), weights2, bias2.data(), call.gate,
                                      call.x_scale, call.res_scale, call.y, call.f, call.mean, partial.data(),
                                      scratch.data()});
}

struct WideResidualBwdCall {
  WideResidualShape shape;
  const void* x;         // [N, H, W, C]
  const void* grad;      // [N, H, W, C], of f
  const float* w1;       // [3, 3, C, K]
  const float* b1;       // [K]
  const float* w1_back;  // [3, 3, K, C]: the first convolution's weights for the gradient of its input
  const float* w2_back;  // [3, 3, C, K], the second one's
  void* grad_x;          // [N, H, W, C], added to; null: not wanted
  float* grad_w1;        // [3, 3, C, K]; null: none of the weights' is wanted
  float* grad_b1;        // [K]
  float* grad_w2;        // [3, 3, K, C]
  float* grad_b2;        // [C]
};

inline void wide_residual_bwd(WideResidualBwdCall call) {
  plan(call.shape, segments_for_items, kSlots);
  const WideResidualShape& s = call.shape;
  const Buffer weights1 = conv3x3_prepared(call.w1, s.c, s.k, s.threads);
  const Buffer weights1_back = conv3x3_prepared(call.w1_back, s.k, s.c, s.threads);
  const Buffer weights2_back = conv3x3_prepared(call.w2_back, s.c, s.k, s.threads);
  const Buffer bias1 = padded_bias(call.b1, s.k, s.k_wide);
  const Index slots = std::clamp<Index>(s.n * s.panels * s.segments, 1, kSlots);
  const Index products = call.grad_w1 ? conv3x3_points_size(s.c, s.k) : 0;
  const Buffer partial1(slots * (products + s.k_wide)), partial2(slots * (products + s.c_wide));
  const Buffer scratch(s.threads * kernels().wide_residual_bwd_scratch(s));
  kernels().launch_wide_residual_bwd({s, call.x, call.grad, weights1.data(), bias1.data(), weights2_back.data(),
                                      weights1_back.data(), call.grad_x, call.grad_w1, call.grad_b1, call.grad_w2,
                                      call.grad_b2, slots, partial1.data(), partial2.data(), scratch.data()});
}

}  // namespace awsrn_fast
