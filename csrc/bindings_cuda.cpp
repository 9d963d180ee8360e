// The Python module awsrn_fast._cuda: the table of contents of the CUDA launchers. A library of its own, with cudart
// linked in, so that it imports on a machine without a driver and _cpu loads without it. A launcher takes three
// arguments: the fields of its struct in csrc/cuda/<op>.h as a tuple (tensors as addresses, 0 for None; structs in it
// as tuples), the maps' dtype, and the target, as (device index, stream, architecture: 75 for 7.5). The caller keeps
// the tensors alive; awsrn_fast/ops/<op>/cuda.py is the only caller.
//
// Under AWSRN_FAST_CUDA_HOST it is _cuda_host: the same table over the kernels that g++ has compiled.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "common/check.h"
#include "cuda/architecture.h"
#include "cuda/awms.h"
#include "cuda/channel_attention.h"
#include "cuda/conv.h"
#include "cuda/dwpw_attention.h"
#include "cuda/gated_residual.h"
#include "cuda/non_local.h"
#include "cuda/wide_residual.h"
#ifdef AWSRN_FAST_CUDA_HOST
#include "cuda_host/module.h"
#else
#include <cuda_runtime_api.h>

#include "common/check_cuda.h"
#endif

namespace py = pybind11;
using namespace awsrn_fast;

#define AWSRN_FAST_LAUNCHERS(X) \
  X(awms_fwd)                   \
  X(awms_bwd_grad)              \
  X(awms_bwd_weight)            \
  X(channel_attention_fwd)      \
  X(channel_attention_bwd)      \
  X(dwpw_attention_fwd)         \
  X(dwpw_attention_bwd)         \
  X(gated_residual_fwd)         \
  X(gated_residual_bwd)         \
  X(non_local_fwd)              \
  X(non_local_bwd)

namespace {

void check(const AwmsMaps& maps) {
  AWSRN_FAST_CHECK(
      maps.k % 2 == 1 && maps.k <= kAwmsMostTaps,
      "awms: weight must have an odd kernel of at most 9x9 for the CUDA kernels; use the reference backend");
}
void check(const AwmsFwd& a) { check(a.maps); }
void check(const AwmsBwdGrad& a) { check(a.maps); }
void check(const AwmsBwdWeight& a) { check(a.maps); }
template <class T>
void check(const T&) {}

DType map_dtype(int code, const Target& target, const char* op) {
  AWSRN_FAST_CHECK(code >= 0 && code <= int(DType::float16), std::string(op) + ": unknown dtype");
  AWSRN_FAST_CHECK(DType(code) != DType::bfloat16 || target.arch >= 80, std::string(op) + ": bfloat16 before sm_80");
  return DType(code);
}

template <class T>
struct Launch {
  T what;
  DType dtype;
  Target target;
};

template <class T>
void define_launcher(py::module_& m, const std::string& name, void (*launcher)(const T&, DType, const Target&)) {
  m.def(name.c_str(), [name, launcher](const py::args& arguments) {
    const auto [what, dtype, target] = from_python<Launch<T>>(arguments.ptr());
    map_dtype(int(dtype), target, name.c_str());
    check(what);
    const py::gil_scoped_release unlocked;
    launcher(what, dtype, target);
  });
}

struct AwmsSizes {
  AwmsMaps maps;
  DType dtype;
};

// Floats of workspace: of awms_bwd_grad, of awms_bwd_weight.
std::pair<Index, Index> awms_workspace(AwmsSizes sizes) {
  check(sizes.maps);
  return {awms_sums_workspace(sizes.maps), awms_weight_workspace(sizes.maps, sizes.dtype)};
}

struct DwpwAttentionSizes {
  DwpwAttentionMaps maps;
  DType dtype;
  int arch;
};

Index dwpw_attention_workspace(DwpwAttentionSizes sizes) {
  return dwpw_attention_bwd_workspace(sizes.maps, sizes.dtype, sizes.arch);
}

using Address = std::uintptr_t;

template <class T = void>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

using Inputs = std::vector<std::pair<Address, Index>>;  // address, channels
using GivenValues = std::pair<Address, bool>;  // address, whether fp32

Values values(const GivenValues& given) { return {pointer(given.first), given.second}; }

Conv conv_of(const std::string& op, const Inputs& inputs, Address weight, const GivenValues& input_gate, const GivenValues& bias,
             bool relu, Address mask, Address plain, Address residual, const GivenValues& gate,
             const GivenValues& x_scale, const GivenValues& res_scale, Address y, Address mean, Address workspace, Index n, Index o, Index h, Index w,
             int k) {
  AWSRN_FAST_CHECK(!inputs.empty() && inputs.size() <= std::size_t(kConvMostMaps), op + ": one to four maps");
  AWSRN_FAST_CHECK(k == 1 || k == 3, op + ": the CUDA kernels have 1x1 and 3x3 convolutions");
  Conv a{op.c_str(), n, h, w, o, k};
  a.count = int(inputs.size());
  for (int i = 0; i < a.count; ++i) a.inputs[i] = {pointer(inputs[i].first), inputs[i].second};
  a.weight = pointer(weight), a.input_gate = values(input_gate), a.bias = values(bias), a.relu = relu;
  a.mask = pointer(mask), a.plain = pointer(plain), a.residual = pointer(residual), a.gate = values(gate);
  a.x_scale = values(x_scale), a.res_scale = values(res_scale), a.y = pointer(y), a.mean = pointer(mean);
  a.workspace = pointer<float>(workspace);
  return a;
}

void conv(const std::string& op, const Inputs& inputs, Address weight, GivenValues input_gate, GivenValues bias, bool relu,
          Address mask, Address plain, Address residual, GivenValues gate, GivenValues x_scale, GivenValues res_scale,
          Address y,
          Address mean, Address workspace, Index n, Index o, Index h, Index w, int k, int dtype, int device,
          Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_conv(conv_of(op, inputs, weight, input_gate, bias, relu, mask, plain, residual, gate, x_scale, res_scale, y,
                      mean, workspace, n, o, h, w, k),
              map_dtype(dtype, target, op.c_str()), target);
}

void wide_residual_fwd(Address w1, GivenValues b1, Address x, Address weight, GivenValues bias, Address plain,
                       GivenValues gate, GivenValues x_scale, GivenValues res_scale, Address y, Address mean, Address workspace, Index n, Index h,
                       Index w, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  const std::string op = "wide_residual";
  const Conv second = conv_of(op, {{x, kWideResidualChannels}}, weight, {0, false}, bias, false, 0, plain, x, gate,
                              x_scale, res_scale, y, mean, workspace, n, kWideResidualChannels, h, w, 3);
  launch_wide_residual_fwd({second, pointer(w1), values(b1)}, map_dtype(dtype, target, op.c_str()), target);
}

#ifdef AWSRN_FAST_CUDA_HOST
#define AWSRN_FAST_CUDA_ARCHS "7.5;8.0"  // the harness has both instances
#else
int driver_version() {
  int version = 0;  // without a driver
  check_cuda(cudaDriverGetVersion(&version), "asking the driver for its version");
  return version;
}

std::vector<std::pair<int, int>> device_capabilities() {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count), "counting devices");
  std::vector<std::pair<int, int>> capabilities(count);
  for (int i = 0; i < count; ++i) {
    check_cuda(cudaDeviceGetAttribute(&capabilities[i].first, cudaDevAttrComputeCapabilityMajor, i),
               "reading a device");
    check_cuda(cudaDeviceGetAttribute(&capabilities[i].second, cudaDevAttrComputeCapabilityMinor, i),
               "reading a device");
  }
  return capabilities;
}
#endif

void bind_launchers(py::module_& m) {
  m.attr("FLOAT32") = int(DType::float32);
  m.attr("BFLOAT16") = int(DType::bfloat16);
  m.attr("FLOAT16") = int(DType::float16);
  m.attr("archs") = AWSRN_FAST_CUDA_ARCHS;

  m.def(
      "blocks_that_fit",
      [](int arch, int threads, int registers, int shared_bytes) {
        return blocks_that_fit(architecture(arch), threads, registers, shared_bytes);
      },
      py::arg("arch"), py::arg("threads"), py::arg("registers"), py::arg("shared_bytes"),
      "Blocks of a kernel that one SM runs at a time.");
  m.def("awms_tiles", &awms_tiles, py::arg("outputs"), "Tiles of 8 outputs that a block of the convolution has.");

  // Floats of workspace.
  define(m, "awms_workspace", awms_workspace);
  define(m, "dwpw_attention_bwd_workspace", dwpw_attention_workspace);
  define(m, "gated_residual_workspace", gated_residual_workspace);
  define(m, "non_local_workspace", non_local_workspace);

  // What takes its operands in another form than a struct's fields.
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.def("conv_tiles", &conv_tiles, py::arg("outputs"), "Tiles of 8 outputs that a block of a small convolution has.");
  m.def("conv_workspace", &conv_workspace, "Floats of workspace where the mean of n, h, w, o is wanted.");
  m.def("conv", &conv, no_gil);
  m.def(
      "wide_residual_is_fused",
      [](int arch, Index c, Index k, int dtype) { return wide_residual_is_fused(arch, c, k, DType(dtype)); },
      py::arg("arch"), py::arg("c"), py::arg("k"), py::arg("dtype"),
      "Whether wide_residual_fwd takes these sizes and is chosen over two convolutions.");
  m.def("wide_residual_workspace", &wide_residual_workspace,
        "Floats of workspace where the mean of n, h, w is wanted.");
  m.def("wide_residual_fwd", &wide_residual_fwd, no_gil);

#define AWSRN_FAST_DEFINE(name) define_launcher(m, #name, launch_##name);
  AWSRN_FAST_LAUNCHERS(AWSRN_FAST_DEFINE)
#undef AWSRN_FAST_DEFINE
}

}  // namespace

#ifdef AWSRN_FAST_CUDA_HOST
PYBIND11_MODULE(_cuda_host, m) {
  bind_launchers(m);
  cuda_host::bind(m);
}
#else
PYBIND11_MODULE(_cuda, m) {
  m.attr("build_id") = AWSRN_FAST_BUILD_ID;
  m.attr("runtime_version") = CUDART_VERSION;
  m.def("driver_version", &driver_version,
        "CUDA version that the driver supports, 13000 for 13.0, 0 without a driver; starts nothing on a GPU.");
  m.def("device_capabilities", &device_capabilities,
        "Compute capability (major, minor) of each device; RuntimeError gives CUDA's reason if there is no driver.");
  bind_launchers(m);
}
#endif
