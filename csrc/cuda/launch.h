// Launching a kernel, in a .cu file: on the target's stream and device, with the error of the launch naming the op.
// Nothing here waits or allocates, so that a CUDA graph can capture it.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "common/dtype.h"
#include "common/index.h"
#include "cuda/device.cuh"
#include "cuda/target.h"

namespace awsrn_fast {

#ifdef AWSRN_FAST_CUDA_HOST

template <class Params>
void launch(void (*kernel)(Params), dim3 grid, dim3 block, std::size_t shared_bytes, const Target&, const char* op,
            const Params& params) {
  cuda_host::run({op, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, &params, sizeof params,
                  [kernel, &params] { kernel(params); }});
}

#else

namespace detail {

inline void check_launch(cudaError_t status, const char* op) {
  if (status != cudaSuccess)
    throw std::runtime_error(std::string(op) + ": CUDA launch failed: " + cudaGetErrorString(status));
}

// The target's device for the time of a launch. Torch has a CUDA runtime of its own, so what was current is put back.
class DeviceGuard {
 public:
  DeviceGuard(int device, const char* op) {
    check_launch(cudaGetDevice(&before_), op);
    if (device == before_) return;
    check_launch(cudaSetDevice(device), op);
    changed_ = true;
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace detail

template <class Params>
void launch(void (*kernel)(Params), dim3 grid, dim3 block, std::size_t shared_bytes, const Target& target,
            const char* op, const Params& params) {
  constexpr std::size_t kWithoutOptIn = 48 * 1024;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const detail::DeviceGuard guard(target.device, op);
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kWithoutOptIn) {
    const auto attribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
    detail::check_launch(cudaFuncSetAttribute(function, attribute, int(shared_bytes)), op);
  }
  void* arguments[] = {const_cast<Params*>(&params)};
  const auto stream = reinterpret_cast<cudaStream_t>(target.stream);
  detail::check_launch(cudaLaunchKernel(function, grid, block, arguments, shared_bytes, stream), op);
}

#endif  // AWSRN_FAST_CUDA_HOST

// What the chosen instance leaves in its workspace must fit into the workspace that the caller allocated.
inline void check_workspace(Index needed, Index told, const char* op) {
  if (needed > told)
    throw std::logic_error(std::string(op) + ": the launch needs a workspace of " + std::to_string(needed) +
                           " floats, " + std::to_string(told) + " were promised");
}

// A grid in x alone.
inline dim3 grid_of(Index blocks, const char* op) {
  if (blocks > 0x7fffffff) throw std::invalid_argument(std::string(op) + ": the maps take more blocks than a grid has");
  return dim3(unsigned(blocks));
}

// Calls `run` with a value of the type that the maps are stored in.
template <class Run>
void with_dtype(DType dtype, Run run) {
  switch (dtype) {
    case DType::float32:
      return run(float{});
    case DType::float16:
      return run(__half{});
    case DType::bfloat16:
      return run(__nv_bfloat16{});
  }
}

}  // namespace awsrn_fast
