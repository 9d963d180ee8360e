#pragma once

#include "cpu/awms.h"
#include "cpu/conv3x3.h"
#include "cpu/dwpw_attention.h"
#include "cpu/gated_pair.h"
#include "cpu/gated_residual.h"
#include "cpu/linear.h"
#include "cpu/non_local.h"
#include "cpu/wide_residual.h"

// The launchers: what every source in csrc/cpu defines for each instruction set. This is the one list of them.
#define AWSRN_FAST_LAUNCHERS(X)                                                      \
  X(void, launch_gated_residual_fwd, const GatedResidualFwd&)                        \
  X(void, launch_gated_residual_bwd, const GatedResidualBwd&)                        \
  X(DwpwAttentionWorkspace, dwpw_attention_fwd_workspace, const DwpwAttentionShape&) \
  X(DwpwAttentionWorkspace, dwpw_attention_bwd_workspace, const DwpwAttentionShape&) \
  X(void, launch_dwpw_attention_fwd, const DwpwAttentionFwd&)                        \
  X(void, launch_dwpw_attention_bwd, const DwpwAttentionBwd&)                        \
  X(void, launch_linear_fwd, const LinearFwd&)                                       \
  X(void, launch_linear_grad_weight, const LinearGradWeight&)                        \
  X(void, launch_non_local_fwd, const NonLocalFwd&)                                  \
  X(void, launch_non_local_bwd, const NonLocalBwd&)                                  \
  X(void, launch_awms_prepare, const AwmsWeights&)                                   \
  X(void, launch_awms_conv, const AwmsConv&)                                         \
  X(void, launch_awms_grad_weight, const AwmsGradWeight&)                            \
  X(Index, gated_pair_scratch, const GatedPairShape&)                                \
  X(void, launch_gated_pair_fwd, const GatedPairFwd&)                                \
  X(void, launch_gated_pair_bwd, const GatedPairBwd&)                                \
  X(Index, conv3x3_scratch, const Conv3x3Shape&)                                     \
  X(Index, conv3x3_prepared_size, Index c, Index o)                                  \
  X(void, launch_conv3x3_prepare, const Conv3x3Weights&)                             \
  X(void, launch_conv3x3_fwd, const Conv3x3Fwd&)                                     \
  X(void, launch_conv3x3_grad_weight, const Conv3x3GradWeight&)                      \
  X(Index, wide_residual_fwd_scratch, const WideResidualShape&)                      \
  X(Index, wide_residual_bwd_scratch, const WideResidualShape&)                      \
  X(void, launch_wide_residual_fwd, const WideResidualFwd&)                          \
  X(void, launch_wide_residual_bwd, const WideResidualBwd&)

namespace awsrn_fast {

// What one instruction set's build offers: its launchers, by their names.
struct Kernels {
  const char* isa;
#define AWSRN_FAST_FIELD(result, name, ...) result (*name)(__VA_ARGS__);
  AWSRN_FAST_LAUNCHERS(AWSRN_FAST_FIELD)
#undef AWSRN_FAST_FIELD
};

#ifdef AWSRN_FAST_ISA
namespace AWSRN_FAST_ISA {
#define AWSRN_FAST_DECLARE(result, name, ...) result name(__VA_ARGS__);
AWSRN_FAST_LAUNCHERS(AWSRN_FAST_DECLARE)
#undef AWSRN_FAST_DECLARE
}  // namespace AWSRN_FAST_ISA
#endif

}  // namespace awsrn_fast
