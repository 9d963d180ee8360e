#pragma once

#include "cpu/openmp.h"

#include "common/index.h"
#include "cpu/isa.h"
#include "cpu/non_local.h"
#include "cpu/vec.h"

// Which positions of a map attend to which: blocks of queries, the rectangle of keys that each attends to, and tiles of
// both.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// A tile has whole groups of as many vectors as stay in registers with their sums (kGroup).
constexpr Index kTileLanes = kLanes == 16 ? kNonLocalTile : kNonLocalTile / 4 * 3;
constexpr Index kRows = kNonLocalRows;

struct Span {
  Index start, length;
};

struct Rectangle {
  Span rows, columns;
  Index size() const { return rows.length * columns.length; }
};

inline bool empty(const NonLocalShape& s) { return s.n == 0 || s.h == 0 || s.w == 0; }

inline Span queries_along(Index size, Index block, Index index) {
  return {index * block, min_of(block, size - index * block)};
}

inline Span keys_along(Index size, Index block, Index halo, Index index) {
  const Index length = min_of(block + 2 * halo, size);
  const Index start = min_of(index * block - halo, size - length);
  return {start < 0 ? 0 : start, length};
}

// The blocks of a batch of maps; numbers of blocks run through the images.
struct Blocks {
  NonLocalShape s;
  Index down, across;

  explicit Blocks(const NonLocalShape& shape)
      : s(shape), down(ceil_div(s.h, s.block)), across(ceil_div(s.w, s.block)) {}
  Index count() const { return s.n * down * across; }
  Index first_position(Index b) const { return b / (down * across) * s.h * s.w; }
  Rectangle queries(Index b) const {
    return {queries_along(s.h, s.block, b / across % down), queries_along(s.w, s.block, b % across)};
  }
  Rectangle keys(Index b) const {
    return {keys_along(s.h, s.block, s.halo, b / across % down), keys_along(s.w, s.block, s.halo, b % across)};
  }
};

// Calls body(block, first, scratch) for every `step` of every block's queries. Each is computed by itself: threads
// share them out as they come and change no bit.
template <class Body>
void for_each_step(const Blocks& blocks, Index step, float* scratch, Body body) {
  const Index steps = ceil_div(blocks.queries(0).size(), step);  // none has more queries than the first
  const Index items = blocks.count() * steps;
#pragma omp parallel for num_threads(blocks.s.threads) schedule(dynamic) if (items > 1)
  for (Index item = 0; item < items; ++item)
    body(item / steps, item % steps * step, scratch + omp_get_thread_num() * blocks.s.scratch);
}

// Positions of a map, at most as many as the largest tile has, as indices into the batch.
struct Positions {
  Index count;
  Index at[kNonLocalTile];
};

// Up to `most` positions of a block's rectangle, from its `first` on.
inline Positions positions_of(const Blocks& blocks, Index b, const Rectangle& of, Index first, Index most) {
  static_assert(kRows <= kNonLocalTile && kNonLocalRowsOfBf16 <= kNonLocalTile, "Positions must hold the rows");
  Positions positions;
  positions.count = min_of(most, of.size() - first);
  Index column = first % of.columns.length;
  Index row = blocks.first_position(b) + (of.rows.start + first / of.columns.length) * blocks.s.w;
  for (Index i = 0; i < positions.count; ++i) {
    positions.at[i] = row + of.columns.start + column;
    if (++column == of.columns.length) column = 0, row += blocks.s.w;
  }
  return positions;
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
