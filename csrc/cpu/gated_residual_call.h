// How gated_residual's work is cut.
#pragma once

#include <vector>

#include "cpu/call.h"

namespace awsrn_fast {

inline void plan(GatedResidualShape& shape) {
  check_call("gated_residual", {shape.n, shape.c, shape.hw}, shape.dtype, shape.threads);
  const ReductionCut cut = cut_for_reduction(shape.hw, shape.channels_last ? shape.c : 1);
  shape.chunk = cut.chunk;
  shape.chunks = cut.chunks;
}

inline void gated_residual_fwd(GatedResidualFwd call) {
  plan(call.shape);
  const Buffer partial(call.shape.n * call.shape.c * call.shape.chunks);
  call.partial = partial.data();
  kernels().launch_gated_residual_fwd(call);
}

inline void gated_residual_bwd(GatedResidualBwd call) {
  plan(call.shape);
  const bool empty = call.shape.n * call.shape.c * call.shape.hw == 0;  // an empty tensor has no address
  AWSRN_FAST_CHECK(call.x || empty || !call.grad_x_scale, "gated_residual: grad_x_scale needs x");
  AWSRN_FAST_CHECK(call.f || empty || !(call.grad_gate || call.grad_res_scale),
                   "gated_residual: grad_gate, grad_res_scale need f");
  std::vector<double> partial(2 * call.shape.n * call.shape.c * call.shape.chunks);
  call.partial = partial.data();
  kernels().launch_gated_residual_bwd(call);
}

}  // namespace awsrn_fast
