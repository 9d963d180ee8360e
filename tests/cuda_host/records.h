#pragma once

#include <vector>

#include "block.h"

namespace cuda_host {

// The kernels launched since the last call, one record each: largest block, largest shared memory, blocks in all.
std::vector<LaunchRecord> take_launch_records();

// Launches since the last call.
std::uint64_t take_launch_count();

}  // namespace cuda_host
