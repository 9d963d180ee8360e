#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "common/tiles.h"
#include "cuda/target.h"
#include "cuda/values.h"

// A convolution of up to four maps, 3x3 with zero 'same' padding or 1x1, with what may stand before and behind it: what
// conv3x3, gated_pair and both halves of wide_residual are made of, forward and backward.
namespace awsrn_fast {

constexpr int kConvMostMaps = 4;

// One of the maps, as if they were concatenated. Its channels are a multiple of 16 bytes, its address of 16.
struct ConvInput {
  const void* x;  // [N, H, W, channels]
  Index channels;
};

// With v the convolution of the (gated) maps plus bias:
//   v = max(v, 0) where `relu`; v = 0 where `mask` is not above 0; plain = v; y = x_scale residual + res_scale gate v.
// Whatever is null is left out: a factor is 1, a summand 0. Accumulation is fp32.
struct Conv {
  const char* op;         // for messages
  Index n, h, w, outputs;
  int k;                  // 3 or 1
  ConvInput inputs[kConvMostMaps];
  int count;              // of them
  const void* weight;     // in the products' order, see cuda/conv.cuh; aligned to 16 bytes
  Values input_gate;  // [N, channels of all maps]; for k = 1 alone
  Values bias;        // [O]
  bool relu;
  const void* mask;       // [N, H, W, O]
  void* plain;            // [N, H, W, O]
  const void* residual;   // [N, H, W, O]
  Values gate;        // [N, O]
  Values x_scale;     // [1]
  Values res_scale;   // [1]
  void* y;                // [N, H, W, O]; it may be the residual
  void* mean;             // [N, O], of y before it is rounded for storing, or null
  float* workspace;       // for mean: as many floats as conv_workspace() says
};

// Tiles of 8 outputs a block: the 32 of the networks' maps, or 16 where there are no more.
constexpr int conv_tiles(Index outputs) { return outputs <= 16 ? 2 : 4; }

// Floats for the blocks' sums of y.
Index conv_workspace(Index n, Index h, Index w, Index outputs);

void launch_conv(const Conv& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
