#pragma once

#include "common/dtype.h"
#include "common/index.h"

// y = relu(W [g0 * x0 ; g1 * x1] + b): two maps with a gate for each channel, and a 1x1 convolution of both.
// The definition is awsrn_fast/ops/gated_pair/reference.py.
namespace awsrn_fast {

constexpr Index kPairVector = 16;  // rows of channels in workspaces are padded to multiples
constexpr Index kPairTile = 64;    // positions that are computed together

struct GatedPairShape {
  static constexpr int kArguments = 6;
  Index n, c, o, hw;  // c: channels of one of the maps
  DType dtype;               // of the maps, which are [N, HW, channels]; everything else is fp32
  int threads;
  Index c_wide, o_wide;  // channels, padded
};

struct GatedPairFwd {
  static constexpr int kArguments = 7;
  GatedPairShape shape;
  const void* x[2];     // [N, HW, C]
  const float* gate;    // [N, 2C], or null for 1
  const float* weight;  // [O, 2C]
  const float* bias;    // [wide O]
  void* y;              // [N, HW, O]
  float* folded;        // workspace [N, 2 * wide C, wide O]
  float* scratch;       // [threads, gated_pair_scratch()]
};

// The sums over an image's positions are taken in as many slots as are given, whatever the threads.
struct GatedPairBwd {
  static constexpr int kArguments = 12;
  GatedPairShape shape;
  const void* grad_y;   // [N, HW, O]
  const void* y;        // [N, HW, O], which says where the ReLU let through
  const void* x[2];     // [N, HW, C]
  const float* gate;    // [N, 2C], or null for 1
  const float* weight;  // [O, 2C]
  void* grad_x[2];      // [N, HW, C]; each may be null: not wanted
  float* grad_gate;     // [N, 2C], may be null
  float* grad_weight;   // [O, 2C]; null: neither it nor the bias' nor the gate's
  float* grad_bias;     // [O]
  Index slots;
  float* partial;  // [N, slots, (2 * wide C + 1) * wide O]
  float* folded;   // workspace [N, wide O, 2 * wide C]
  float* scratch;  // [threads, gated_pair_scratch()]
};

}  // namespace awsrn_fast
