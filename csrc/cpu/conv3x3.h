#pragma once

#include "common/dtype.h"
#include "common/index.h"

// 3x3 'same' convolution by Winograd F(4x4, 3x3). The definition is awsrn_fast/ops/conv3x3/reference.py.
namespace awsrn_fast {

constexpr Index kConv3x3Points = 36;  // of a tile
constexpr Index kConv3x3Vector = 16;  // rows of channels are padded to multiples
constexpr Index kConv3x3Chunk = 16;   // tiles of 4x4 outputs whose products are computed together

struct Conv3x3Shape {
  static constexpr int kArguments = 7;
  Index n, c, o, h, w;
  DType dtype;  // of the maps, which are [N, H, W, channels]; everything else is fp32
  int threads;
  Index c_wide, o_wide;  // channels, padded
};

constexpr int kConv3x3Maps = 4;

// The input: maps [N, H, W, channels], whose channels follow each other. With several maps, each has whole vectors
// of channels.
struct Conv3x3Maps {
  int count;
  const void* map[kConv3x3Maps];
  Index channels[kConv3x3Maps];
};

struct Conv3x3Weights {
  const float* weight;  // [3, 3, C, O]
  float* prepared;      // conv3x3_prepared_size() floats; cpu/winograd_weights.h
  Index c, o;
  int threads;
};

struct Conv3x3Fwd {
  Conv3x3Shape shape;
  Conv3x3Maps x;
  const float* weights;  // prepared
  const float* bias;     // [wide O], or null for 0
  void* y;               // [N, H, W, O]
  float* scratch;        // [threads, conv3x3_scratch()]
};

// Images are summed up in as many slots as are given, so that the order of the sums does not depend on the threads.
struct Conv3x3GradWeight {
  static constexpr int kArguments = 5;
  Conv3x3Shape shape;
  Conv3x3Maps x;
  const void* grad;    // [N, H, W, O]
  float* grad_weight;  // [3, 3, C, O]
  float* grad_bias;    // [O]
  Index slots;
  float* partial;  // [slots, 36 * wide C * wide O + wide O]
  float* scratch;  // [threads, conv3x3_scratch()]
};

}  // namespace awsrn_fast
