// The Python module awsrn_fast._cpu: the table of contents of the CPU launchers. A function takes the fields of its
// struct in csrc/cpu/<op>.h or <op>_call.h, up to those that are planned, as positional arguments: tensors as addresses
// (0 for None), shapes as tuples. The caller keeps the tensors alive; awsrn_fast/ops/<op>/cpu.py is the only caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arguments.h"
#include "cpu/awms_call.h"
#include "cpu/conv3x3_call.h"
#include "cpu/dwpw_attention_call.h"
#include "cpu/gated_pair_call.h"
#include "cpu/gated_residual_call.h"
#include "cpu/linear_call.h"
#include "cpu/non_local_call.h"
#include "cpu/wide_residual_call.h"

namespace py = pybind11;
using namespace awsrn_fast;

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

PYBIND11_MODULE(_cpu, m) {
  m.attr("build_id") = AWSRN_FAST_BUILD_ID;
  m.attr("FLOAT32") = int(DType::float32);
  m.attr("BFLOAT16") = int(DType::bfloat16);

  m.def("available_isas", &available_isas, "Instruction sets that this library holds and this CPU runs.");
  m.def("isa", [] { return std::string(kernels().isa); }, "The instruction set in use.");
  m.def("set_isa", &set_isa, py::arg("name"), "Use another of available_isas(); ValueError names them.");

  m.def("poison", [](bool on) { poisoned = on; }, py::arg("on"), "For tests: scratch starts as NaN.");

#define AWSRN_FAST_DEFINE(name) define(m, #name, name);
  AWSRN_FAST_CALLS(AWSRN_FAST_DEFINE)
#undef AWSRN_FAST_DEFINE
}
