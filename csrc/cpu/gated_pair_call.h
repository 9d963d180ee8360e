// How gated_pair's work is cut.
#pragma once

#include "cpu/call.h"

namespace awsrn_fast {

inline void plan(GatedPairShape& shape) {
  check_call("gated_pair", {shape.n, shape.c, shape.o, shape.hw}, shape.dtype, shape.threads);
  AWSRN_FAST_CHECK(shape.c >= 1 && shape.o >= 1, "gated_pair: a size is too small");
  shape.c_wide = round_up(shape.c, kPairVector);
  shape.o_wide = round_up(shape.o, kPairVector);
}

inline void gated_pair_fwd(GatedPairFwd call) {
  plan(call.shape);
  const GatedPairShape& shape = call.shape;
  const Buffer bias = padded_bias(call.bias, shape.o, shape.o_wide), folded(shape.n * 2 * shape.c_wide * shape.o_wide);
  const Buffer scratch(shape.threads * kernels().gated_pair_scratch(shape));
  call.bias = bias.data();
  call.folded = folded.data();
  call.scratch = scratch.data();
  kernels().launch_gated_pair_fwd(call);
}

inline void gated_pair_bwd(GatedPairBwd call) {
  plan(call.shape);
  AWSRN_FAST_CHECK(!call.grad_weight == !call.grad_bias && (call.grad_weight || !call.grad_gate),
                   "gated_pair: sums come together");
  const GatedPairShape& shape = call.shape;
  call.slots = std::clamp<Index>(ceil_div(shape.hw, 1024), 1, 64);
  const Index sums = shape.n * call.slots * (2 * shape.c_wide + 1) * shape.o_wide;
  const Buffer partial(call.grad_weight ? sums : 0), folded(shape.n * shape.o_wide * 2 * shape.c_wide);
  const Buffer scratch(shape.threads * kernels().gated_pair_scratch(shape));
  call.partial = partial.data();
  call.folded = folded.data();
  call.scratch = scratch.data();
  kernels().launch_gated_pair_bwd(call);
}

}  // namespace awsrn_fast
