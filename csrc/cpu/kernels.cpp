#include "cpu/kernels.h"

#include "cpu/isa.h"

namespace awsrn_fast::AWSRN_FAST_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    AWSRN_FAST_ISA_NAME,
    launch_gated_residual_fwd,
    launch_gated_residual_bwd,
};

}  // namespace awsrn_fast::AWSRN_FAST_ISA
