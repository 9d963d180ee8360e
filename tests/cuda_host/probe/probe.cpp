#include "probe.h"

#include <pybind11/pybind11.h>

#include "cuda_host/module.h"

namespace py = pybind11;
using namespace probe;
using Address = std::uintptr_t;

namespace {

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace

PYBIND11_MODULE(_probe, m) {
  cuda_host::bind(m);
  py::enum_<Fault>(m, "Fault", py::module_local())
      .value("none", Fault::none)
      .value("missing_barrier", Fault::missing_barrier)
      .value("missing_syncwarp", Fault::missing_syncwarp)
      .value("beyond_shared", Fault::beyond_shared)
      .value("below_one", Fault::below_one)
      .value("lane_not_in_mask", Fault::lane_not_in_mask)
      .value("lane_outside_mask", Fault::lane_outside_mask)
      .value("exited_lane", Fault::exited_lane)
      .value("two_barriers", Fault::two_barriers)
      .value("two_barriers_on_a_line", Fault::two_barriers_on_a_line)
      .value("deadlock", Fault::deadlock)
      .value("blocks_meet", Fault::blocks_meet)
      .value("unaligned_matrix", Fault::unaligned_matrix)
      .value("early_matrix", Fault::early_matrix);
  m.def(
      "row_sums",
      [](Address x, Address y, int rows, Fault fault, int threads, std::int64_t shared_bytes) {
        row_sums({pointer<const float>(x), pointer<float>(y), fault}, rows, threads, shared_bytes);
      },
      py::arg("x"), py::arg("y"), py::arg("rows"), py::arg("fault") = Fault::none, py::arg("threads") = 64,
      py::arg("shared_bytes") = 256);
  m.def(
      "product",
      [](Address a, Address b, Address d, int depth, bool b_transposed, bool bfloat16, Fault fault) {
        product(
            {pointer<const void>(a), pointer<const void>(b), pointer<float>(d), depth, b_transposed, bfloat16, fault});
      },
      py::arg("a"), py::arg("b"), py::arg("d"), py::arg("depth"), py::arg("b_transposed"), py::arg("bfloat16"),
      py::arg("fault") = Fault::none);
  m.def("shuffles", [](Address x, Address y, int width) { shuffles({pointer<const int>(x), pointer<int>(y), width}); });
  m.def("rounding", [](Address x, Address half, Address bfloat16, Address from_half, Address from_bfloat16, int count) {
    rounding({pointer<const float>(x), pointer<std::uint16_t>(half), pointer<std::uint16_t>(bfloat16),
              pointer<float>(from_half), pointer<float>(from_bfloat16), count});
  });
}
