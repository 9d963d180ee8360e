#pragma once

#include <cstdint>

namespace awsrn_fast {

// Where a launch goes: the tensors' device and its current stream, and the architecture (75, 80, 86, ...) whose code
// runs there, which picks a kernel's instance.
struct Target {
  int device;
  std::uintptr_t stream;
  int arch;
};

}  // namespace awsrn_fast
