// The Python module awsrn_fast._cpu: the table of contents of the CPU launchers. A function takes the fields of its
// struct in csrc/cpu/<op>.h or <op>_call.h, up to those that are planned, as positional arguments: tensors as addresses
// (0 for None), shapes as tuples. The caller keeps the tensors alive; awsrn_fast/ops/<op>/cpu.py is the only caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arguments.h"
#include "cpu/calls.h"

namespace py = pybind11;
using namespace awsrn_fast;

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
