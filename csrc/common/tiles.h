#pragma once

#include <algorithm>
#include <cstdint>

namespace awsrn_fast {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// How a map's positions are cut for a reduction. The cut depends on the shape alone, never on the number of
// threads, and the partial sums are added in order: that is what makes reductions deterministic.
struct ReductionCut {
  std::int64_t chunk;   // positions a chunk
  std::int64_t chunks;  // chunks a map
};

// `width` is the number of values at one position that a chunk walks together: C in channels_last, 1 in NCHW.
// 8192 values of three streams in fp32 stay within a 96 KB part of L2, and give 32 channels of 48x48 nine chunks to share out.
constexpr ReductionCut cut_for_reduction(std::int64_t positions, std::int64_t width) {
  const std::int64_t chunk = std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, width));
  return {chunk, ceil_div(positions, chunk)};
}

}  // namespace awsrn_fast
