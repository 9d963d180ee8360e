#pragma once

#include "common/tiles.h"

namespace awsrn_fast {

// Limits of one SM by compute capability (CUDA C++ Programming Guide,
// "Technical Specifications per Compute Capability").
struct Architecture {
  int threads, blocks;        // at a time
  int registers = 64 * 1024;  // given out to warps by 256
  int shared_bytes;           // of all blocks
  int reserved_bytes;         // of them, by each block
};

// 75 for 7.5. What is not in the table counts as the tightest that is not older.
constexpr Architecture architecture(int arch) {
  if (arch < 80) return {1024, 16, 64 * 1024, 64 * 1024, 0};
  if (arch == 80) return {2048, 32, 64 * 1024, 164 * 1024, 1024};
  if (arch == 89) return {1536, 24, 64 * 1024, 100 * 1024, 1024};
  if (arch == 90) return {2048, 32, 64 * 1024, 228 * 1024, 1024};
  return {1536, 16, 64 * 1024, 100 * 1024, 1024};
}

// That of the code that is being compiled, for __launch_bounds__.
constexpr int compiled_arch() {
#ifdef __CUDA_ARCH__
  return __CUDA_ARCH__ / 10;
#else
  return 75;
#endif
}

// The instances of kernels are for 75 and for 80, the latter for all later ones, too: their tiles fit the tightest.
constexpr Architecture architecture_of_instance(int arch) { return architecture(arch < 80 ? 75 : 86); }

// Blocks that an SM runs at a time.
constexpr int blocks_that_fit(const Architecture& a, int threads, int registers, int shared_bytes) {
  const int warps = int(ceil_div(threads, 32)), of_warp = int(ceil_div(registers * 32, 256)) * 256;
  const int shared = int(ceil_div(shared_bytes + a.reserved_bytes, 256)) * 256;
  int blocks = a.threads / (32 * warps);
  if (blocks > a.blocks) blocks = a.blocks;
  if (of_warp && blocks > a.registers / (of_warp * warps)) blocks = a.registers / (of_warp * warps);
  if (shared && blocks > a.shared_bytes / shared) blocks = a.shared_bytes / shared;
  return blocks;
}

}  // namespace awsrn_fast
