#pragma once

#include "common/dtype.h"
#include "common/index.h"

// y = x_scale * x + res_scale * (gate . f) and the mean of y over H, W: the end of an AWRU (eq. 1-2) and eq. 12.
// The definition is awsrn_fast/ops/gated_residual/reference.py.
namespace awsrn_fast {

struct GatedResidualShape {
  static constexpr int kArguments = 6;
  Index n, c, hw;
  bool channels_last;          // maps are [N, HW, C], else [N, C, HW]
  DType dtype;                 // of the maps; everything else is fp32
  int threads;
  Index chunk, chunks;  // see ReductionCut
};

struct GatedResidualFwd {
  static constexpr int kArguments = 8;
  GatedResidualShape shape;
  const void* x;           // [N, C, HW]
  const void* f;           // [N, C, HW]
  const float* gate;       // [N, C], or null for 1
  const float* x_scale;    // [1]
  const float* res_scale;  // [1]
  void* y;                 // [N, C, HW]
  float* mean;             // [N, C], of y before it is rounded for storing
  float* partial;          // workspace [N * C * chunks]
};

struct GatedResidualBwd {
  static constexpr int kArguments = 13;
  GatedResidualShape shape;
  const void* grad_y;      // [N, C, HW], or null for 0
  const float* grad_mean;  // [N, C], or null for 0
  const void* x;           // [N, C, HW], or null where grad_x_scale is
  const void* f;           // [N, C, HW], or null where grad_gate and grad_res_scale are
  const float* gate;       // [N, C], or null for 1
  const float* x_scale;    // [1]
  const float* res_scale;  // [1]
  void* grad_x;            // [N, C, HW]; each gradient may be null: not wanted
  void* grad_f;            // [N, C, HW]
  float* grad_gate;        // [N, C]
  float* grad_x_scale;     // [1]
  float* grad_res_scale;   // [1]
  double* partial;         // workspace [2 * N * C * chunks]
};

}  // namespace awsrn_fast
