#pragma once

#include "cpu/awms.h"
#include "cpu/conv3x3.h"
#include "cpu/dwpw_attention.h"
#include "cpu/gated_pair.h"
#include "cpu/gated_residual.h"
#include "cpu/linear.h"
#include "cpu/non_local.h"
#include "cpu/wide_residual.h"

namespace awsrn_fast {

// What one instruction set's build offers: one entry a launcher. Filled in by cpu/kernels.cpp.
struct Kernels {
  const char* isa;
  void (*gated_residual_fwd)(const GatedResidualFwd&);
  void (*gated_residual_bwd)(const GatedResidualBwd&);
  DwpwAttentionWorkspace (*dwpw_attention_fwd_workspace)(const DwpwAttentionShape&);
  DwpwAttentionWorkspace (*dwpw_attention_bwd_workspace)(const DwpwAttentionShape&);
  void (*dwpw_attention_fwd)(const DwpwAttentionFwd&);
  void (*dwpw_attention_bwd)(const DwpwAttentionBwd&);
  void (*linear_fwd)(const LinearFwd&);
  void (*linear_grad_weight)(const LinearGradWeight&);
  void (*non_local_fwd)(const NonLocalFwd&);
  void (*non_local_bwd)(const NonLocalBwd&);
  void (*awms_prepare)(const AwmsWeights&);
  void (*awms_conv)(const AwmsConv&);
  void (*awms_grad_weight)(const AwmsGradWeight&);
  std::int64_t (*gated_pair_scratch)(const GatedPairShape&);
  void (*gated_pair_fwd)(const GatedPairFwd&);
  void (*gated_pair_bwd)(const GatedPairBwd&);
  std::int64_t (*conv3x3_scratch)(const Conv3x3Shape&);
  std::int64_t (*conv3x3_prepared_size)(std::int64_t c, std::int64_t o);
  void (*conv3x3_prepare)(const Conv3x3Weights&);
  void (*conv3x3_fwd)(const Conv3x3Fwd&);
  void (*conv3x3_grad_weight)(const Conv3x3GradWeight&);
  std::int64_t (*wide_residual_fwd_scratch)(const WideResidualShape&);
  std::int64_t (*wide_residual_bwd_scratch)(const WideResidualShape&);
  void (*wide_residual_fwd)(const WideResidualFwd&);
  void (*wide_residual_bwd)(const WideResidualBwd&);
};

#ifdef AWSRN_FAST_ISA
namespace AWSRN_FAST_ISA {
void launch_gated_residual_fwd(const GatedResidualFwd&);
void launch_gated_residual_bwd(const GatedResidualBwd&);
DwpwAttentionWorkspace dwpw_attention_fwd_workspace(const DwpwAttentionShape&);
DwpwAttentionWorkspace dwpw_attention_bwd_workspace(const DwpwAttentionShape&);
void launch_dwpw_attention_fwd(const DwpwAttentionFwd&);
void launch_dwpw_attention_bwd(const DwpwAttentionBwd&);
void launch_linear_fwd(const LinearFwd&);
void launch_linear_grad_weight(const LinearGradWeight&);
void launch_non_local_fwd(const NonLocalFwd&);
void launch_non_local_bwd(const NonLocalBwd&);
void launch_awms_prepare(const AwmsWeights&);
void launch_awms_conv(const AwmsConv&);
void launch_awms_grad_weight(const AwmsGradWeight&);
std::int64_t gated_pair_scratch(const GatedPairShape&);
void launch_gated_pair_fwd(const GatedPairFwd&);
void launch_gated_pair_bwd(const GatedPairBwd&);
std::int64_t conv3x3_scratch(const Conv3x3Shape&);
std::int64_t conv3x3_prepared_size(std::int64_t c, std::int64_t o);
void launch_conv3x3_prepare(const Conv3x3Weights&);
void launch_conv3x3_fwd(const Conv3x3Fwd&);
void launch_conv3x3_grad_weight(const Conv3x3GradWeight&);
std::int64_t wide_residual_fwd_scratch(const WideResidualShape&);
std::int64_t wide_residual_bwd_scratch(const WideResidualShape&);
void launch_wide_residual_fwd(const WideResidualFwd&);
void launch_wide_residual_bwd(const WideResidualBwd&);
}  // namespace AWSRN_FAST_ISA
#endif

}  // namespace awsrn_fast
