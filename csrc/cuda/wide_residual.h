#pragma once

#include "cuda/conv.h"

// The whole AWRU forward in one kernel, for the networks' sizes: y = x_scale x + res_scale gate conv3(relu(conv3(x))).
// The definition is awsrn_fast/ops/wide_residual/reference.py; other sizes, fp32 and backward take convolutions.
namespace awsrn_fast {

constexpr int kWideResidualChannels = 32, kWideResidualWide = 128;

// One kernel instead of two convolutions, whose wide map of four times x goes through global memory. It computes 17 %
// of the wide map twice, at the edges of its tiles. By the roofline (no GPU has timed either) a 2080 Ti, bound by its
// tensor cores, loses up to a tenth by that; a T4, of the same architecture, and all from sm_80 on are bound by memory
// and gain more, and everywhere the map's memory is saved: 236 MB of fp16 for a 1280x720 input.
constexpr bool wide_residual_is_fused(int arch, Index c, Index k, DType dtype) {
  return arch >= 75 && c == kWideResidualChannels && k == kWideResidualWide && dtype != DType::float32;
}

struct WideResidual {
  Conv second;      // the second convolution and its epilogue; its only input is x
  const void* w1;   // [K, C, 3, 3], packed as a convolution's weight
  Values b1;    // [K]
};

// Floats for the blocks' sums of y.
Index wide_residual_workspace(Index n, Index h, Index w);

void launch_wide_residual_fwd(const WideResidual& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
