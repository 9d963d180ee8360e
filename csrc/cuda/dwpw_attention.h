#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "cuda/target.h"

// Depthwise separable convolution with pixel attention (eq. 3-6).
// The definition is awsrn_fast/ops/dwpw_attention/reference.py.
namespace awsrn_fast {

// Maps are [N, H, W, C], dense, 16 bytes aligned. C and D are multiples of 8, at most kDwpwAttentionMostChannels.
struct DwpwAttentionMaps {
  Index n, c, d, h, w;
};

constexpr Index kDwpwAttentionMostChannels = 128;

// Pointers are to values of one dtype; accumulation is fp32.
struct DwpwAttentionWeights {
  const void* w_dw;  // [C, 3, 3]
  const void* b_dw;  // [C]
  const void* w_pw;  // [D, C]
  const void* b_pw;  // [D]
  const void* w_a;   // [D, D]
  const void* b_a;   // [D]
};

struct DwpwAttentionFwd {
  DwpwAttentionMaps maps;
  const void* x;  // [N, H, W, C]
  DwpwAttentionWeights weights;
  const void* residual;  // [N, H, W, D], or null for 0
  void* y;               // [N, H, W, D]
};

struct DwpwAttentionBwd {
  DwpwAttentionMaps maps;
  const void* grad_y;  // [N, H, W, D]
  const void* x;       // [N, H, W, C]
  DwpwAttentionWeights weights;
  void* grad_depthwise;  // workspace [N, H, W, C]: the gradient of the depthwise convolution's output
  void* grad_x;          // [N, H, W, C], or null: not wanted
  void* grad_w_dw;       // [C, 3, 3]; null, with all after it: not wanted
  float* grad_b_dw;      // [C]
  void* grad_w_pw;       // [D, C]
  float* grad_b_pw;      // [D]
  void* grad_w_a;        // [D, D]
  float* grad_b_a;       // [D]
  float* workspace;      // as many floats as dwpw_attention_bwd_workspace() says
};

// Floats that backward needs for its partial sums.
Index dwpw_attention_bwd_workspace(const DwpwAttentionMaps& maps, DType dtype, int arch);

void launch_dwpw_attention_fwd(const DwpwAttentionFwd& a, DType dtype, const Target& target);
void launch_dwpw_attention_bwd(const DwpwAttentionBwd& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
