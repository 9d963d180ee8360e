#include "cpu/kernels.h"

#include "cpu/isa.h"

namespace awsrn_fast::AWSRN_FAST_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    AWSRN_FAST_ISA_NAME,
    launch_gated_residual_fwd,
    launch_gated_residual_bwd,
    dwpw_attention_fwd_workspace,
    dwpw_attention_bwd_workspace,
    launch_dwpw_attention_fwd,
    launch_dwpw_attention_bwd,
    launch_linear_fwd,
    launch_linear_grad_weight,
    launch_non_local_fwd,
    launch_non_local_bwd,
    launch_awms_prepare,
    launch_awms_conv,
    launch_awms_grad_weight,
    gated_pair_scratch,
    launch_gated_pair_fwd,
    launch_gated_pair_bwd,
    conv3x3_scratch,
    conv3x3_prepared_size,
    launch_conv3x3_prepare,
    launch_conv3x3_fwd,
    launch_conv3x3_grad_weight,
    wide_residual_fwd_scratch,
    wide_residual_bwd_scratch,
    launch_wide_residual_fwd,
    launch_wide_residual_bwd,
};

}  // namespace awsrn_fast::AWSRN_FAST_ISA
