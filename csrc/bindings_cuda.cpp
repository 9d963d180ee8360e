// The Python module awsrn_fast._cuda: the table of contents of the CUDA launchers. A library of its own, with cudart
// linked in, so that it imports on a machine without a driver and _cpu loads without it.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "common/check_cuda.h"

namespace py = pybind11;
using namespace awsrn_fast;

namespace {

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

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.attr("build_id") = AWSRN_FAST_BUILD_ID;
  m.attr("runtime_version") = CUDART_VERSION;
  m.attr("archs") = AWSRN_FAST_CUDA_ARCHS;
  m.def("device_capabilities", &device_capabilities,
        "Compute capability (major, minor) of each device; RuntimeError gives CUDA's reason if there is no driver.");
}
