#pragma once

#include <cstdint>

#include "common/dtype.h"

// y = W x + b at every position: non_local's projections. A library's product may choose another order of sums for
// another number of threads; here every output is one sum over the channels in their order.
namespace awsrn_fast {

constexpr std::int64_t kLinearVector = 16;  // rows of channels in workspaces are padded to multiples
constexpr std::int64_t kLinearTile = 64;    // positions that are computed together

struct LinearShape {
  static constexpr int kArguments = 5;
  std::int64_t rows, c, o;  // positions, channels in and out
  DType dtype;              // of the maps, [rows, channels]; everything else is fp32
  int threads;
  std::int64_t c_wide, o_wide;  // channels, padded
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
  std::int64_t slots;
  float* partial;  // workspace [slots, (wide C + 1) * wide O]
  float* scratch;  // workspace [threads, kLinearTile * (wide C + wide O) + wide C * wide O]
};

}  // namespace awsrn_fast
