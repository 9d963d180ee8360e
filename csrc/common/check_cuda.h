#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace awsrn_fast {

inline void check_cuda(cudaError_t status, const char* doing) {
  if (status != cudaSuccess)
    throw std::runtime_error(std::string("CUDA failed while ") + doing + ": " + cudaGetErrorString(status));
}

}  // namespace awsrn_fast
