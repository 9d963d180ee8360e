#pragma once

#include <algorithm>

#include "common/index.h"

namespace awsrn_fast {

// How a map's positions are cut for a reduction. The cut depends on the shape alone, never on the number of
// threads, and the partial sums are added in order: that is what makes reductions deterministic.
struct ReductionCut {
  Index chunk;   // positions a chunk
  Index chunks;  // chunks a map
};

// `width` is the number of values at one position that a chunk walks together: C in channels_last, 1 in NCHW.
// 8192 values of three streams in fp32 stay within a 96 KB part of L2, and give 32 channels of 48x48 nine chunks to
// share out.
constexpr ReductionCut cut_for_reduction(Index positions, Index width) {
  const Index chunk = std::max<Index>(1, 8192 / std::max<Index>(1, width));
  return {chunk, ceil_div(positions, chunk)};
}

}  // namespace awsrn_fast
