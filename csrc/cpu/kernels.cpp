// The table of this instruction set's launchers; csrc/dispatch.cpp chooses among the tables when the library is
// loaded.
#include "cpu/kernels.h"

#include "cpu/isa.h"

namespace awsrn_fast::AWSRN_FAST_ISA {

#define AWSRN_FAST_NAME(result, name, ...) name,
extern const Kernels kernels;
const Kernels kernels = {AWSRN_FAST_ISA_NAME, AWSRN_FAST_LAUNCHERS(AWSRN_FAST_NAME)};
#undef AWSRN_FAST_NAME

}  // namespace awsrn_fast::AWSRN_FAST_ISA
