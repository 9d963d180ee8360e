#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "cuda/target.h"

// gate = sigmoid(w2 relu(w1 mean + b1) + b2): from the means of the channels to their gates (eq. 1-2 and 11).
// The definition is awsrn_fast/ops/channel_attention/reference.py.
namespace awsrn_fast {

struct ChannelAttentionSizes {
  Index n, c, r;
};

// Pointers are to values of one dtype, the workspaces' to fp32; accumulation is fp32.
struct ChannelAttentionFwd {
  ChannelAttentionSizes sizes;
  const void* mean;  // [N, C]
  const void* w1;    // [R, C]
  const void* b1;    // [R], or null for 0
  const void* w2;    // [C, R]
  const void* b2;    // [C], or null for 0
  void* gate;        // [N, C]
  float* hidden;     // workspace [N, R]
};

struct ChannelAttentionBwd {
  ChannelAttentionSizes sizes;
  const void* grad_gate;  // [N, C]
  const void* mean;       // as forward's
  const void* w1;
  const void* b1;
  const void* w2;
  const void* b2;
  void* grad_mean;  // [N, C]; each gradient may be null: not wanted
  void* grad_w1;    // [R, C]
  void* grad_b1;    // [R]
  void* grad_w2;    // [C, R]
  void* grad_b2;    // [C]
  float* hidden;    // workspaces: [N, R]
  float* to_hidden; // [N, R], gradient before the ReLU
  float* to_gate;   // [N, C], gradient before the sigmoid
};

void launch_channel_attention_fwd(const ChannelAttentionFwd& a, DType dtype, const Target& target);
void launch_channel_attention_bwd(const ChannelAttentionBwd& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
