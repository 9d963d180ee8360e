#pragma once

#include "common/dtype.h"
#include "common/index.h"

// y = W x + b at every position: non_local's projections. A library's product may choose another order of sums for
// another number of threads; here every output is one sum over the channels in their order.
namespace awsrn_fast {

constexpr Index kLinearVector = 16;  // rows of channels in workspaces are padded to multiples
constexpr Index kLinearTile = 64;    // positions that are computed together

struct LinearShape {
  static constexpr int kArguments = 5;
  Index rows, c, o;  // positions, channels in and out
  DType dtype;              // of the maps, [rows, channels]; everything else is fp32
  int threads;
  Index c_wide, o_wide;  // channels, padded
};

struct LinearFwd {
  static constexpr int kArguments = 6;
  LinearShape shape;
  const void* x;         // [rows, C]
  const float* weight;   // [C, O]
  const float* bias;     // [wide O]
  const void* residual;  // [rows, O], added; or null
  void* y;               // [rows, O]
  float* packed;         // workspace [C, wide O]
  float* scratch;        // workspace [threads, kLinearTile * (wide C + wide O)]
};

// The sums over the positions are taken in as many slots as are given, whatever the threads.
struct LinearGradWeight {
  static constexpr int kArguments = 5;
  LinearShape shape;
  const void* x;       // [rows, C]
  const void* grad;    // [rows, O]
  float* grad_weight;  // [C, O]
  float* grad_bias;    // [O]
  Index slots;
  float* partial;  // workspace [slots, (wide C + 1) * wide O]
  float* scratch;  // workspace [threads, kLinearTile * (wide C + wide O) + wide C * wide O]
};

}  // namespace awsrn_fast
