#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "common/tiles.h"
#include "cuda/target.h"
#include "cuda/values.h"

// Reconstruction: a convolution with an odd kernel of up to 9x9, skip, PixelShuffle, denormalisation and clamp.
// The definition is awsrn_fast/ops/awms/reference.py.
namespace awsrn_fast {

constexpr int kAwmsMostTaps = 9;  // down and across

constexpr int kAwmsMostTiles = 6;  // of 8 outputs: the 48 of x4 in one block, 48 sums a thread

// Tiles of 8 outputs a block, even: as few blocks as hold all outputs, and then as few tiles as these need. The same on
// every architecture: two blocks fill sm_75's registers and shared memory, and later ones have more of both.
constexpr int awms_tiles(Index outputs) {
  const Index tiles = ceil_div(outputs, 8), blocks = ceil_div(tiles, kAwmsMostTiles);
  return int(2 * ceil_div(tiles, 2 * (blocks > 0 ? blocks : 1)));
}

struct AwmsMaps {
  Index n, h, w;
  Index inputs, outputs;  // channels
  int k;
};

// Maps and weights are of one dtype; accumulation is fp32. Positions of x lie `row` channels apart, which is a
// multiple of 16 bytes; those from `inputs` on are 0.
struct AwmsFwd {
  AwmsMaps maps;
  Index row;
  const void* x;  // [N, H, W, row], aligned to 16 bytes
  const void* weight;  // in the products' order, see cuda/awms.cuh; aligned to 16 bytes
  Values bias;  // [O], or null for 0
  const void* skip;  // [N, H, W, O], or null for 0
  Values shift;  // [P], or null for 0
  void* y;  // [N, P, scale H, scale W] = out_scale * shuffled(convolution + bias + skip) + shift
  bool channels_last;  // y is [N, scale H, scale W, P] instead
  int scale;
  float out_scale;
  bool clamp;  // y to [0, 1]
  bool levels;  // y is 8-bit instead of the maps' type: 255 times the value in [0, 1], rounded to nearest even
};

struct AwmsBwdGrad {
  AwmsMaps maps;
  Index grad_row;
  const void* grad_y;  // as y
  const void* y;  // forward's before the clamp, or null for none
  bool channels_last;
  int scale;
  float out_scale;
  void* grad;  // [N, H, W, grad_row]: of the convolution's output, and of skip; 0 from O on
  float* grad_bias;  // [O], or null: not wanted
  float* grad_shift;  // [P], likewise
  float* workspace;  // as many floats as awms_sums_workspace() says, or null where neither is wanted
};

struct AwmsBwdWeight {
  AwmsMaps maps;
  Index row, grad_row;
  const void* x;  // [N, H, W, row], aligned to 16 bytes
  const void* grad;  // [N, H, W, grad_row], likewise: of the convolution's output
  void* grad_weight;  // [O, C, K, K]
  float* workspace;  // as many floats as awms_workspace() says
};

// Floats that the gradients of bias and shift, and that of the weight, need for their partial sums.
Index awms_sums_workspace(const AwmsMaps& maps);
Index awms_weight_workspace(const AwmsMaps& maps, DType dtype);

// Backward is grad, and then that for the weight; backward for x is forward of the output's gradient with the weight
// mirrored and transposed, and scale 1.
void launch_awms_fwd(const AwmsFwd& a, DType dtype, const Target& target);
void launch_awms_bwd_grad(const AwmsBwdGrad& a, DType dtype, const Target& target);
void launch_awms_bwd_weight(const AwmsBwdWeight& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
