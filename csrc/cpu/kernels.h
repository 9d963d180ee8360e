#pragma once

#include "cpu/gated_residual.h"

namespace awsrn_fast {

// What one instruction set's build offers: one entry a launcher. Filled in by cpu/kernels.cpp.
struct Kernels {
  const char* isa;
  void (*gated_residual_fwd)(const GatedResidualFwd&);
  void (*gated_residual_bwd)(const GatedResidualBwd&);
};

#ifdef AWSRN_FAST_ISA
namespace AWSRN_FAST_ISA {
void launch_gated_residual_fwd(const GatedResidualFwd&);
void launch_gated_residual_bwd(const GatedResidualBwd&);
}  // namespace AWSRN_FAST_ISA
#endif

}  // namespace awsrn_fast
