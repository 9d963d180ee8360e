#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "cpu/conv3x3.h"

// The AWRU: two 3x3 convolutions with a wide map between, ReLU, gate, scales, residual, and the output's mean.
// The definition is awsrn_fast/ops/wide_residual/reference.py.
namespace awsrn_fast {

constexpr Index kWideChunk = kConv3x3Chunk;  // tiles of 4x4 outputs side by side in a panel

// A map is cut into panels, at most a chunk wide, and these into segments of rows of tiles. A thread goes down a
// segment and keeps the last rows of the wide map alone, near its L2 cache.
struct WideResidualShape {
  static constexpr int kArguments = 7;
  Index n, c, k, h, w;
  DType dtype;  // of the maps, which are [N, H, W, channels]; everything else is fp32
  int threads;
  Index c_wide, k_wide;  // channels, padded
  Index panels, segments;  // of an image; no output depends on the segments
};

struct WideResidualFwd {
  WideResidualShape shape;
  const void* x;  // [N, H, W, C]
  const float* weights1;  // of C to K channels, prepared as conv3x3's
  const float* bias1;  // [wide K]
  const float* weights2;  // of K to C
  const float* bias2;  // [wide C]
  const float* gate;  // [N, C], or null for 1
  const float* x_scale;  // [1]
  const float* res_scale;  // [1]
  void* y;  // [N, H, W, C]
  void* f;  // [N, H, W, C], the second convolution's output; may be null
  float* mean;  // [N, C]
  float* partial;  // [N, rows of tiles, panels, wide C]
  float* scratch;  // [threads, wide_residual_fwd_scratch()]
};

// Gradients through both convolutions; those of gate, scales and residual are gated_residual's.
struct WideResidualBwd {
  WideResidualShape shape;
  const void* x;  // [N, H, W, C]
  const void* grad;  // [N, H, W, C], of f
  const float* weights1;  // of C to K channels, prepared as conv3x3's
  const float* bias1;  // [wide K]
  const float* weights2_back;  // of C to K: the second convolution's, transposed and turned
  const float* weights1_back;  // of K to C
  void* grad_x;  // [N, H, W, C], added to; null: not wanted
  float* grad_w1;  // [3, 3, C, K]; null: none of the weights' is wanted
  float* grad_b1;  // [K]
  float* grad_w2;  // [3, 3, K, C]
  float* grad_b2;  // [C]
  Index slots;  // segments are summed up in so many, whatever the threads
  float* partial1;  // [slots, 36 * wide C * wide K + wide K]
  float* partial2;  // [slots, 36 * wide K * wide C + wide C]
  float* scratch;  // [threads, wide_residual_bwd_scratch()]
};

}  // namespace awsrn_fast
