// How conv3x3's work is cut, and what its kernels compute from a weight as it is.
#pragma once

#include "cpu/call.h"

namespace awsrn_fast {

inline void plan(Conv3x3Shape& shape) {
  check_call("conv3x3", {shape.n, shape.c, shape.o, shape.h, shape.w}, shape.dtype, shape.threads);
  shape.c_wide = round_up(shape.c, kConv3x3Vector);
  shape.o_wide = round_up(shape.o, kConv3x3Vector);
}

struct Conv3x3Channels {
  Index c, o;
};

// Floats of a weight's gradient at 36 points, [36, wide C, wide O].
inline Index conv3x3_points_size(Index c, Index o) {
  return kConv3x3Points * round_up(c, kConv3x3Vector) * round_up(o, kConv3x3Vector);
}

// Floats of one prepared weight.
inline Index conv3x3_prepared_size(const Conv3x3Channels& a) { return kernels().conv3x3_prepared_size(a.c, a.o); }

// [3, 3, C, O] -> the weights as the kernels take them.
inline void conv3x3_prepare(const Conv3x3Weights& call) {
  AWSRN_FAST_CHECK(call.c >= 0 && call.o >= 0 && call.threads >= 1,
                   "conv3x3: a size is negative, or there is no thread");
  kernels().launch_conv3x3_prepare(call);
}

inline Buffer conv3x3_prepared(const float* weight, Index c, Index o, int threads) {
  Buffer prepared(conv3x3_prepared_size({c, o}));
  conv3x3_prepare({weight, prepared.data(), c, o, threads});
  return prepared;
}

inline void check_maps(const Conv3x3Maps& maps, const Conv3x3Shape& shape) {
  AWSRN_FAST_CHECK(maps.count >= 1 && maps.count <= kConv3x3Maps, "conv3x3: one to four maps");
  Index channels = 0;
  for (int i = 0; i < maps.count; ++i) {
    channels += maps.channels[i];
    AWSRN_FAST_CHECK(maps.count == 1 || maps.channels[i] % kConv3x3Vector == 0, "conv3x3: a map's channels");
  }
  AWSRN_FAST_CHECK(channels == shape.c, "conv3x3: the maps' channels are not the weight's");
}

struct Conv3x3FwdCall {
  Conv3x3Shape shape;
  Conv3x3Maps x;
  const float* weight;    // [3, 3, C, O], or null: it is prepared
  const float* prepared;  // as conv3x3_prepare() made it
  const float* bias;      // [O], or null for 0
  void* y;                // [N, H, W, O]
};

inline void conv3x3_fwd(Conv3x3FwdCall call) {
  plan(call.shape);
  check_maps(call.x, call.shape);
  const Conv3x3Shape& shape = call.shape;
  const Buffer made = call.weight ? conv3x3_prepared(call.weight, shape.c, shape.o, shape.threads) : Buffer(0);
  const Buffer bias = padded_bias(call.bias, shape.o, shape.o_wide);
  const Buffer scratch(shape.threads * kernels().conv3x3_scratch(shape));
  kernels().launch_conv3x3_fwd(
      {shape, call.x, call.weight ? made.data() : call.prepared, bias.data(), call.y, scratch.data()});
}

inline void conv3x3_grad_weight(Conv3x3GradWeight call) {
  plan(call.shape);
  check_maps(call.x, call.shape);
  const Conv3x3Shape& shape = call.shape;
  call.slots = std::clamp<Index>(shape.n * ceil_div(shape.h, 16), 1, kSlots);
  const Buffer partial(call.slots * (conv3x3_points_size(shape.c, shape.o) + shape.o_wide));
  const Buffer scratch(shape.threads * kernels().conv3x3_scratch(shape));
  call.partial = partial.data();
  call.scratch = scratch.data();
  kernels().launch_conv3x3_grad_weight(call);
}

}  // namespace awsrn_fast
