// Which positions of a map attend to which: blocks of queries and the rectangle of keys that each attends to.
#pragma once

#include "common/tiles.h"
#include "cuda/device.cuh"
#include "cuda/non_local.h"

namespace awsrn_fast {

struct NonLocalSpan {
  int start, length;
};

constexpr NonLocalSpan non_local_queries(int size, int block, int index) {
  const int rest = size - index * block;
  return {index * block, rest < block ? rest : block};
}

constexpr NonLocalSpan non_local_keys(int size, int block, int halo, int index) {
  const int length = block + 2 * halo < size ? block + 2 * halo : size;
  const int start = index * block - halo, last = size - length;
  return {start < 0 ? 0 : start < last ? start : last, length};
}

// The blocks along one axis whose keys hold a position: those from `start` on, `length` of them.
constexpr NonLocalSpan non_local_blocks_of_key(int size, int block, int halo, int position) {
  const int length = non_local_keys(size, block, halo, 0).length;
  const int last = (size + block - 1) / block - 1;
  const int first = position < length ? 0 : (position + halo - length) / block + 1;
  const int end = position >= size - length ? last : (position + halo) / block;
  return {first, (end < last ? end : last) - first + 1};
}

static_assert(non_local_keys(40, 16, 4, 2).start == 16 && non_local_keys(40, 16, 4, 2).length == 24);
static_assert(non_local_blocks_of_key(40, 16, 4, 15).start == 0 && non_local_blocks_of_key(40, 16, 4, 15).length == 2);
static_assert(non_local_blocks_of_key(40, 16, 4, 39).start == 2 && non_local_blocks_of_key(40, 16, 4, 39).length == 1);

// A rectangle of one image's positions, counted row by row. Position 0 is the batch's first.
struct NonLocalRectangle {
  NonLocalSpan rows, columns;
  Index image;  // position of the image's first
  int width;           // of the map

  __device__ int size() const { return rows.length * columns.length; }
  __device__ Index position(int row, int column) const {
    return image + Index(rows.start + row) * width + columns.start + column;
  }
  __device__ Index position(int index) const { return position(index / columns.length, index % columns.length); }
};

// The numbers of blocks, and of tiles of 64 queries or keys that each is cut into; numbers run through the images.
struct NonLocalGrid {
  int down, across, query_tiles, key_tiles;
  Index blocks;
};

constexpr int kNonLocalTileRows = 64;

constexpr NonLocalGrid non_local_grid(const NonLocalShape& s) {
  NonLocalGrid grid{};
  grid.down = int(ceil_div(s.h, s.block));
  grid.across = int(ceil_div(s.w, s.block));
  const NonLocalSpan rows = non_local_queries(s.h, s.block, 0), columns = non_local_queries(s.w, s.block, 0);
  grid.query_tiles = int(ceil_div(Index(rows.length) * columns.length, kNonLocalTileRows));
  const int tall = non_local_keys(s.h, s.block, s.halo, 0).length,
            wide = non_local_keys(s.w, s.block, s.halo, 0).length;
  grid.key_tiles = int(ceil_div(Index(tall) * wide, kNonLocalTileRows));
  grid.blocks = s.n * grid.down * grid.across;
  return grid;
}

// One block's queries and keys.
struct NonLocalBlock {
  NonLocalRectangle queries, keys;

  __device__ NonLocalBlock(const NonLocalShape& s, const NonLocalGrid& grid, Index b) {
    const int column = int(b % grid.across), row = int(b / grid.across % grid.down);
    const Index image = b / grid.across / grid.down * s.h * s.w;
    queries = {non_local_queries(s.h, s.block, row), non_local_queries(s.w, s.block, column), image, s.w};
    keys = {non_local_keys(s.h, s.block, s.halo, row), non_local_keys(s.w, s.block, s.halo, column), image, s.w};
  }
};

// Walks over a rectangle's positions in equal steps, without a division for each.
class NonLocalWalk {
 public:
  __device__ NonLocalWalk(const NonLocalRectangle& of, int first, int step)
      : of_(of),
        index_(first),
        row_(first / of.columns.length),
        column_(first % of.columns.length),
        step_(step),
        step_rows_(step / of.columns.length),
        step_columns_(step % of.columns.length) {}

  __device__ __forceinline__ bool inside() const { return index_ < of_.size(); }
  __device__ __forceinline__ Index position() const { return of_.position(row_, column_); }
  __device__ __forceinline__ void next() {
    index_ += step_;
    row_ += step_rows_;
    column_ += step_columns_;
    if (column_ >= of_.columns.length) column_ -= of_.columns.length, ++row_;
  }

 private:
  const NonLocalRectangle& of_;
  int index_, row_, column_, step_, step_rows_, step_columns_;
};

}  // namespace awsrn_fast
