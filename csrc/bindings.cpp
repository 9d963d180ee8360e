// The Python module awsrn_fast._cpu: the table of contents of the CPU launchers. Tensors come as addresses (0 for
// None) and sizes, and the caller keeps them alive; awsrn_fast/ops/<op>/autograd.py is the only caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/check.h"
#include "common/tiles.h"
#include "dispatch.h"

namespace py = pybind11;
using namespace awsrn_fast;
using Address = std::uintptr_t;

namespace {

template <class T = void>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

GatedResidualShape gated_residual_shape(std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last, int dtype,
                                        int threads) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 0 && hw >= 0, "gated_residual: a size is negative");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "gated_residual: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "gated_residual: threads must be at least 1");
  const ReductionCut cut = cut_for_reduction(hw, channels_last ? c : 1);
  return {n, c, hw, channels_last, DType(dtype), cut.chunk, cut.chunks, threads};
}

void gated_residual_fwd(Address x, Address f, Address gate, Address x_scale, Address res_scale, Address y, Address mean,
                        std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last, int dtype, int threads) {
  const GatedResidualShape shape = gated_residual_shape(n, c, hw, channels_last, dtype, threads);
  std::vector<float> partial(n * c * shape.chunks);
  kernels().gated_residual_fwd({shape, pointer(x), pointer(f), pointer<float>(gate), pointer<float>(x_scale),
                                pointer<float>(res_scale), pointer(y), pointer<float>(mean), partial.data()});
}

void gated_residual_bwd(Address grad_y, Address grad_mean, Address x, Address f, Address gate, Address x_scale,
                        Address res_scale, Address grad_x, Address grad_f, Address grad_gate, Address grad_x_scale,
                        Address grad_res_scale, std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last,
                        int dtype, int threads) {
  const bool empty = n * c * hw == 0;  // an empty tensor has no address
  AWSRN_FAST_CHECK(x || empty || !grad_x_scale, "gated_residual: grad_x_scale needs x");
  AWSRN_FAST_CHECK(f || empty || !(grad_gate || grad_res_scale), "gated_residual: grad_gate, grad_res_scale need f");
  const GatedResidualShape shape = gated_residual_shape(n, c, hw, channels_last, dtype, threads);
  std::vector<float> partial(2 * n * c * shape.chunks);
  kernels().gated_residual_bwd({shape, pointer(grad_y), pointer<float>(grad_mean), pointer(x), pointer(f),
                                pointer<float>(gate), pointer<float>(x_scale), pointer<float>(res_scale),
                                pointer(grad_x), pointer(grad_f), pointer<float>(grad_gate),
                                pointer<float>(grad_x_scale), pointer<float>(grad_res_scale), partial.data()});
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.attr("build_id") = AWSRN_FAST_BUILD_ID;
  m.attr("FLOAT32") = int(DType::float32);
  m.attr("BFLOAT16") = int(DType::bfloat16);

  m.def("available_isas", &available_isas, "Instruction sets that this library holds and this CPU runs.");
  m.def("isa", [] { return std::string(kernels().isa); }, "The instruction set in use.");
  m.def("set_isa", &set_isa, py::arg("name"), "Use another of available_isas(); ValueError names them.");

  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.def("gated_residual_fwd", &gated_residual_fwd, no_gil, py::arg("x"), py::arg("f"), py::arg("gate"),
        py::arg("x_scale"), py::arg("res_scale"), py::arg("y"), py::arg("mean"), py::arg("n"), py::arg("c"),
        py::arg("hw"), py::arg("channels_last"), py::arg("dtype"), py::arg("threads"));
  m.def("gated_residual_bwd", &gated_residual_bwd, no_gil, py::arg("grad_y"), py::arg("grad_mean"), py::arg("x"),
        py::arg("f"), py::arg("gate"), py::arg("x_scale"), py::arg("res_scale"), py::arg("grad_x"), py::arg("grad_f"),
        py::arg("grad_gate"), py::arg("grad_x_scale"), py::arg("grad_res_scale"), py::arg("n"), py::arg("c"),
        py::arg("hw"), py::arg("channels_last"), py::arg("dtype"), py::arg("threads"));
}
