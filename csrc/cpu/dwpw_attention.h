#pragma once

#include "common/dtype.h"
#include "common/index.h"

// Depthwise separable convolution with pixel attention (eq. 3-6), in strips of rows.
// The definition is awsrn_fast/ops/dwpw_attention/reference.py.
namespace awsrn_fast {

struct DwpwAttentionShape {
  static constexpr int kArguments = 8;
  Index n, c, d, h, w;
  bool channels_last;  // maps are [N, H, W, C], else [N, C, H, W]
  DType dtype;         // of the maps; everything else is fp32
  int threads;
  Index rows;   // a strip: what one thread does at a time, whatever the number of threads
};

// Floats that a launcher needs: for each thread, for each strip of each image, and for all together.
struct DwpwAttentionWorkspace {
  Index thread, strip, shared;
};

struct DwpwAttentionWeights {
  const float* w_dw;  // [C, 3, 3]
  const float* b_dw;  // [C]
  const float* w_pw;  // [D, C]
  const float* b_pw;  // [D]
  const float* w_a;   // [D, D]
  const float* b_a;   // [D]
};

struct DwpwAttentionFwd {
  static constexpr int kArguments = 5;
  DwpwAttentionShape shape;
  const void* x;  // [N, C, H, W]
  DwpwAttentionWeights weights;
  const void* residual;  // [N, D, H, W], or null for 0
  void* y;               // [N, D, H, W]
  float* scratch;        // [threads, workspace.thread], then [workspace.shared]
};

struct DwpwAttentionBwd {
  static constexpr int kArguments = 13;
  DwpwAttentionShape shape;
  const void* grad_y;  // [N, D, H, W]; also the residual's gradient
  const void* x;       // [N, C, H, W]
  DwpwAttentionWeights weights;
  const float* w_pw_t;  // [C, D]
  const float* w_a_t;   // [D, D]
  void* grad_x;         // [N, C, H, W], or null: not wanted
  float* grad_w_dw;     // [C, 3, 3]; null, with all after it: not wanted
  float* grad_b_dw;     // [C]
  float* grad_w_pw;     // [D, C]
  float* grad_b_pw;     // [D]
  float* grad_w_a;      // [D, D]
  float* grad_b_a;      // [D]
  float* scratch;       // [threads, workspace.thread], then [workspace.shared]
  float* partial;       // [N, strips, workspace.strip], or null with grad_w_dw
};

}  // namespace awsrn_fast
