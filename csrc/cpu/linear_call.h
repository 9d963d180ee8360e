// How linear's work is cut.
#pragma once

#include "cpu/call.h"

namespace awsrn_fast {

inline void plan(LinearShape& shape) {
  check_call("linear", {shape.rows, shape.c, shape.o}, shape.dtype, shape.threads);
  AWSRN_FAST_CHECK(shape.c >= 1 && shape.o >= 1, "linear: a size is too small");
  shape.c_wide = round_up(shape.c, kLinearVector);
  shape.o_wide = round_up(shape.o, kLinearVector);
}

inline void linear_fwd(LinearFwd call) {
  plan(call.shape);
  const LinearShape& s = call.shape;
  const Buffer bias = padded_bias(call.bias, s.o, s.o_wide), packed(s.c * s.o_wide);
  const Buffer scratch(s.threads * kLinearTile * (s.c_wide + s.o_wide));
  call.bias = bias.data();
  call.packed = packed.data();
  call.scratch = scratch.data();
  kernels().launch_linear_fwd(call);
}

inline void linear_grad_weight(LinearGradWeight call) {
  plan(call.shape);
  const LinearShape& s = call.shape;
  call.slots = std::clamp<Index>(ceil_div(s.rows, 1024), 1, 64);
  const Index products = s.c_wide * s.o_wide;
  const Buffer partial(call.slots * (products + s.o_wide));
  const Buffer scratch(s.threads * (kLinearTile * (s.c_wide + s.o_wide) + products));
  call.partial = partial.data();
  call.scratch = scratch.data();
  kernels().launch_linear_grad_weight(call);
}

}  // namespace awsrn_fast
