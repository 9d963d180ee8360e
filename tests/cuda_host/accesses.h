// Counts how a warp's accesses fall on memory: 32-byte sectors of global memory, banks of shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "block.h"

namespace cuda_host {

// One access in the source, over all launches of a kernel since the last call.
struct AccessRecord {
  std::string op, kernel, place;
  std::string kind;  // "global load", "global store", "shared load", "shared store", "ldmatrix"
  std::uint64_t requests = 0;           // of warps
  std::uint64_t units = 0, ideal = 0;   // sectors or shared-memory wavefronts: as it is, and as few as would do
};

void start_counting(const Launch& launch);
void count_access(int thread, const void* address, std::size_t bytes, bool write, bool shared, const void* place);
void count_matrix(const void* const* rows, const void* place);
// To be called where no request goes on: between blocks.
void finish_requests();

void set_counting(bool on);
std::vector<AccessRecord> take_access_records();

// "gated_residual.cuh:120" of an address within this module's code; the caller's line for the harness's helpers.
std::string source_line(const void* place);

}  // namespace cuda_host
