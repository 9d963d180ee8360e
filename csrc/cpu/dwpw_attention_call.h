// How dwpw_attention's work is cut.
#pragma once

#include "cpu/call.h"

namespace awsrn_fast {

// Strips of equal height, as near to `rows` as may be.
inline void plan(DwpwAttentionShape& shape, Index rows) {
  check_call("dwpw_attention", {shape.n, shape.c, shape.d, shape.h, shape.w}, shape.dtype, shape.threads);
  shape.rows = ceil_div(shape.h, std::max<Index>(1, (shape.h + rows / 2) / rows));
}

inline void dwpw_attention_fwd(DwpwAttentionFwd call) {
  plan(call.shape, 8);
  const DwpwAttentionWorkspace needs = kernels().dwpw_attention_fwd_workspace(call.shape);
  const Zeros scratch(call.shape.threads * needs.thread + needs.shared);
  call.scratch = scratch.data();
  kernels().launch_dwpw_attention_fwd(call);
}

inline void dwpw_attention_bwd(DwpwAttentionBwd call) {
  // Two rows more than a strip has are computed for it: strips four times as high as forward's.
  plan(call.shape, 32);
  const DwpwAttentionShape& shape = call.shape;
  const DwpwAttentionWorkspace needs = kernels().dwpw_attention_bwd_workspace(shape);
  const Index strips = std::max<Index>(1, shape.rows ? shape.n * ceil_div(shape.h, shape.rows) : 0);
  const bool weighted = call.grad_w_dw;
  const Zeros scratch(shape.threads * needs.thread + needs.shared), partial(weighted ? strips * needs.strip : 0);
  call.scratch = scratch.data();
  call.partial = weighted ? partial.data() : nullptr;
  kernels().launch_dwpw_attention_bwd(call);
}

}  // namespace awsrn_fast
