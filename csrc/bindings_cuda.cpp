// The Python module awsrn_fast._cuda: the table of contents of the CUDA launchers. A library of its own, with cudart
// linked in, so that it imports on a machine without a driver and _cpu loads without it. A launcher takes three
// arguments: the fields of its struct in csrc/cuda/<op>.h as a tuple (tensors as addresses, 0 for None; structs in it as
// tuples), the maps' dtype, and the target, as (device index, stream, architecture: 75 for 7.5). The caller keeps the
// tensors alive; awsrn_fast/ops/<op>/cuda.py is the only caller.
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
#include "cuda/dwpw_attention.h"
#include "cuda/gated_residual.h"
#include "cuda/non_local.h"
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
  AWSRN_FAST_CHECK(maps.k % 2 == 1 && maps.k <= kAwmsMostTaps,
                   "awms: weight must have an odd kernel of at most 9x9 for the CUDA kernels; use the reference backend");
}
void check(const AwmsFwd& a) { check(a.maps); }
void check(const AwmsBwdGrad& a) { check(a.maps); }
void check(const AwmsBwdWeight& a) { check(a.maps); }
template <class T>
void check(const T&) {}

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
    AWSRN_FAST_CHECK(int(dtype) >= 0 && dtype <= DType::float16, name + ": unknown dtype");
    AWSRN_FAST_CHECK(dtype != DType::bfloat16 || target.arch >= 80, name + ": bfloat16 before sm_80");
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
std::pair<std::int64_t, std::int64_t> awms_workspace(AwmsSizes sizes) {
  check(sizes.maps);
  return {awms_sums_workspace(sizes.maps), awms_weight_workspace(sizes.maps, sizes.dtype)};
}

struct DwpwAttentionSizes {
  DwpwAttentionMaps maps;
  DType dtype;
  int arch;
};

std::int64_t dwpw_attention_workspace(DwpwAttentionSizes sizes) {
  return dwpw_attention_bwd_workspace(sizes.maps, sizes.dtype, sizes.arch);
}

#ifndef AWSRN_FAST_CUDA_HOST
std::vector<std::pair<int, int>> device_capabilities() {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count), "counting devices");
  std::vector<std::pair<int, int>> capabilities(count);
  for (int i = 0; i < count; ++i) {
    check_cuda(cudaDeviceGetAttribute(&capabilities[i].first, cudaDevAttrComputeCapabilityMajor, i), "reading a device");
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

  m.def("blocks_that_fit",
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
  m.attr("archs") = AWSRN_FAST_CUDA_ARCHS;
  m.def("device_capabilities", &device_capabilities,
        "Compute capability (major, minor) of each device; RuntimeError gives CUDA's reason if there is no driver.");
  bind_launchers(m);
}
#endif
