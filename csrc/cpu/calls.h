#pragma once

#include "cpu/awms_call.h"
#include "cpu/conv3x3_call.h"
#include "cpu/dwpw_attention_call.h"
#include "cpu/gated_pair_call.h"
#include "cpu/gated_residual_call.h"
#include "cpu/linear_call.h"
#include "cpu/non_local_call.h"
#include "cpu/wide_residual_call.h"

// The functions that are called from outside: csrc/bindings.cpp hands them to Python, tests/emulated/driver.cpp to
// another process. This is the one list of them.
#define AWSRN_FAST_CALLS(X) \
  X(gated_residual_fwd)     \
  X(gated_residual_bwd)     \
  X(dwpw_attention_fwd)     \
  X(dwpw_attention_bwd)     \
  X(linear_fwd)             \
  X(linear_grad_weight)     \
  X(non_local_fwd)          \
  X(non_local_bwd)          \
  X(awms_points_size)       \
  X(awms_prepare)           \
  X(awms_conv)              \
  X(awms_fwd)               \
  X(awms_grad_weight)       \
  X(conv3x3_prepared_size)  \
  X(conv3x3_prepare)        \
  X(conv3x3_fwd)            \
  X(conv3x3_grad_weight)    \
  X(gated_pair_fwd)         \
  X(gated_pair_bwd)         \
  X(wide_residual_fwd)      \
  X(wide_residual_bwd)
