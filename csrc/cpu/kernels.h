#pragma once

#include "cpu/awms.h"
#include "cpu/dwpw_attention.h"
#include "cpu/gated_residual.h"
#include "cpu/non_local.h"

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
  void (*non_local_fwd)(const NonLocalFwd&);
  void (*non_local_bwd)(const NonLocalBwd&);
  void (*awms_prepare)(const AwmsWeights&);
  void (*awms_conv)(const AwmsConv&);
  void (*awms_grad_weight)(const AwmsGradWeight&);
};

#ifdef AWSRN_FAST_ISA
namespace AWSRN_FAST_ISA {
void launch_gated_residual_fwd(const GatedResidualFwd&);
void launch_gated_residual_bwd(const GatedResidualBwd&);
DwpwAttentionWorkspace dwpw_attention_fwd_workspace(const DwpwAttentionShape&);
DwpwAttentionWorkspace dwpw_attention_bwd_workspace(const DwpwAttentionShape&);
void launch_dwpw_attention_fwd(const DwpwAttentionFwd&);
void launch_dwpw_attention_bwd(const DwpwAttentionBwd&);
void launch_non_local_fwd(const NonLocalFwd&);
void launch_non_local_bwd(const NonLocalBwd&);
void launch_awms_prepare(const AwmsWeights&);
void launch_awms_conv(const AwmsConv&);
void launch_awms_grad_weight(const AwmsGradWeight&);
}  // namespace AWSRN_FAST_ISA
#endif

}  // namespace awsrn_fast
