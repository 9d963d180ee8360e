// How non_local's work is cut.
#pragma once

#include "cpu/call.h"

namespace awsrn_fast {

inline void plan(NonLocalShape& s) {
  check_call("non_local", {s.n, s.h, s.w, s.d}, s.dtype, s.threads);
  AWSRN_FAST_CHECK(s.block >= 1 && s.halo >= 0, "non_local: block must be at least 1 and halo at least 0");
  // Two tiles of scores, the rows, and five maps of D channels by the tile's positions, one of them in whole vectors.
  const Index most = s.dtype == DType::float32 ? kNonLocalRows : kNonLocalRowsOfBf16;
  s.wide = round_up(s.d, kNonLocalVector);
  s.scratch = most * 2 * kNonLocalTile + kNonLocalRows * 2 * s.wide + (4 * s.d + s.wide) * kNonLocalTile;
  // Enough work to share out among some threads; each group costs another set of query gradients.
  const Index blocks = std::max<Index>(1, s.n * ceil_div(s.h, s.block) * ceil_div(s.w, s.block));
  s.groups = std::clamp<Index>(32 / blocks, 1, 8);
  s.rows = std::min(most, round_up(std::min(s.block, s.h) * std::min(s.block, s.w), kNonLocalRowsAtOnce));
}

inline void non_local_fwd(NonLocalFwd call) {
  plan(call.shape);
  const Buffer scratch(call.shape.threads * call.shape.scratch);
  call.scratch = scratch.data();
  kernels().launch_non_local_fwd(call);
}

inline void non_local_bwd(NonLocalBwd call) {
  plan(call.shape);
  const NonLocalShape& s = call.shape;
  const Index blocks = s.n * ceil_div(s.h, s.block) * ceil_div(s.w, s.block);
  const Index span = s.block + 2 * s.halo, keys = std::min(span, s.h) * std::min(span, s.w);
  const Index queries = std::min(s.block, s.h) * std::min(s.block, s.w);
  const Index rows = s.rows ? blocks * round_up(queries, s.rows) : 0;
  const Buffer packed(rows * 2 * s.wide), statistics(rows * kNonLocalStatistics), scratch(s.threads * s.scratch);
  const Buffer partial_keys(blocks * keys * 2 * s.d), partial_queries(blocks * s.groups * queries * s.wide);
  call.queries = packed.data();
  call.statistics = statistics.data();
  call.partial_keys = partial_keys.data();
  call.partial_queries = partial_queries.data();
  call.scratch = scratch.data();
  kernels().launch_non_local_bwd(call);
}

}  // namespace awsrn_fast
