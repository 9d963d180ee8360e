#pragma once

#include <omp.h>

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/non_local.h"
#include "cpu/vec.h"

// Which positions of a map attend to which: blocks of queries, the rectangle of keys that each meets, and tiles of
// both.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// A tile has whole groups of as many vectors as stay in registers with their sums (kGroup).
constexpr std::int64_t kTile = kLanes == 16 ? kNonLocalTile : kNonLocalTile / 4 * 3;
constexpr std::int64_t kRows = kNonLocalRows;

struct Span {
  std::int64_t start, length;
};

struct Rectangle {
  Span rows, columns;
  std::int64_t size() const { return rows.length * columns.length; }
};

inline bool empty(const NonLocalShape& s) { return s.n == 0 || s.h == 0 || s.w == 0; }

inline Span queries_along(std::int64_t size, std::int64_t block, std::int64_t index) {
  return {index * block, lesser(block, size - index * block)};
}

inline Span keys_along(std::int64_t size, std::int64_t block, std::int64_t halo, std::int64_t index) {
  const std::int64_t length = lesser(block + 2 * halo, size);
  const std::int64_t start = lesser(index * block - halo, size - length);
  return {start < 0 ? 0 : start, length};
}

// The blocks of a batch of maps; numbers of blocks run through the images.
struct Blocks {
  NonLocalShape s;
  std::int64_t down, across;

  explicit Blocks(const NonLocalShape& shape)
      : s(shape), down((s.h + s.block - 1) / s.block), across((s.w + s.block - 1) / s.block) {}
  std::int64_t count() const { return s.n * down * across; }
  std::int64_t first_position(std::int64_t b) const { return b / (down * across) * s.h * s.w; }
  Rectangle queries(std::int64_t b) const {
    return {queries_along(s.h, s.block, b / across % down), queries_along(s.w, s.block, b % across)};
  }
  Rectangle keys(std::int64_t b) const {
    return {keys_along(s.h, s.block, s.halo, b / across % down), keys_along(s.w, s.block, s.halo, b % across)};
  }
};

// Calls body(block, first, scratch) for every `step` of every block's queries. Each is computed by itself: threads
// share them out as they come and change no bit.
template <class Body>
void for_each_step(const Blocks& blocks, std::int64_t step, float* scratch, Body body) {
  const std::int64_t steps = (blocks.queries(0).size() + step - 1) / step;  // none has more queries than the first
  const std::int64_t items = blocks.count() * steps;
#pragma omp parallel for num_threads(blocks.s.threads) schedule(dynamic) if (items > 1)
  for (std::int64_t item = 0; item < items; ++item)
    body(item / steps, item % steps * step, scratch + omp_get_thread_num() * blocks.s.scratch);
}

// Positions of a map, at most as many as the largest tile has, as indices into the batch.
struct Positions {
  std::int64_t count;
  std::int64_t at[kNonLocalTile];
};

// Up to `most` positions of a block's rectangle, from its `first` on.
inline Positions positions_of(const Blocks& blocks, std::int64_t b, const Rectangle& of, std::int64_t first,
                              std::int64_t most) {
  static_assert(kRows <= kNonLocalTile && kNonLocalRowsOfBf16 <= kNonLocalTile, "Positions must hold the rows");
  Positions positions;
  positions.count = lesser(most, of.size() - first);
  std::int64_t column = first % of.columns.length;
  std::int64_t row = blocks.first_position(b) + (of.rows.start + first / of.columns.length) * blocks.s.w;
  for (std::int64_t i = 0; i < positions.count; ++i) {
    positions.at[i] = row + of.columns.start + column;
    if (++column == of.columns.length) column = 0, row += blocks.s.w;
  }
  return positions;
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
