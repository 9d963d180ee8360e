#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "cuda/target.h"
#include "cuda/values.h"

// y = x_scale * x + res_scale * (gate . f) and the mean of y over H, W: the end of an AWRU (eq. 1-2) and eq. 12.
// The definition is awsrn_fast/ops/gated_residual/reference.py.
namespace awsrn_fast {

struct GatedResidualMaps {
  Index n, c, hw;
  bool channels_last;  // maps are [N, HW, C], else [N, C, HW]
};

// Maps and means are of one dtype; accumulation is fp32.
struct GatedResidualFwd {
  GatedResidualMaps maps;
  const void* x;          // [N, C, HW]
  const void* f;          // [N, C, HW]
  Values gate;            // [N, C], or null for 1
  Values x_scale;         // [1]
  Values res_scale;       // [1]
  void* y;                // [N, C, HW]
  void* mean;             // [N, C], of y before it is rounded for storing
  float* workspace;       // as many floats as gated_residual_workspace() says
};

struct GatedResidualBwd {
  GatedResidualMaps maps;
  const void* grad_y;     // [N, C, HW], or null for 0
  const void* grad_mean;  // [N, C], or null for 0
  const void* x;          // [N, C, HW], or null where grad_x_scale is
  const void* f;          // [N, C, HW], or null where grad_gate and grad_res_scale are
  Values gate;            // [N, C], or null for 1
  Values x_scale;         // [1]
  Values res_scale;       // [1]
  void* grad_x;           // [N, C, HW]; each gradient may be null: not wanted
  void* grad_f;           // [N, C, HW]
  float* grad_gate;       // [N, C]
  float* grad_x_scale;    // [1]
  float* grad_res_scale;  // [1]
  float* workspace;
};

// Floats that forward or backward needs for its partial sums.
Index gated_residual_workspace(const GatedResidualMaps& maps);

void launch_gated_residual_fwd(const GatedResidualFwd& a, DType dtype, const Target& target);
void launch_gated_residual_bwd(const GatedResidualBwd& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
