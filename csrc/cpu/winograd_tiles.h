#pragma once

#include "cpu/conv3x3.h"
#include "cpu/gemm.h"
#include "cpu/winograd.h"

// 3x3 convolutions as products at 36 points a tile of 4x4 outputs: maps to points, products, points back to values.
// Points of a chunk of tiles are 36 arrays [tiles][channels], channels padded to whole vectors.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

constexpr Index kWinoTile = f43::kTile, kWinoPoints = f43::kPoints * f43::kPoints;
constexpr Index kMostTiles = kConv3x3Chunk + 1;  // side by side, with a panel's margins

// Stride between the arrays of two points: one cache line of padding, because sizes are multiples of large powers of
// two and 36 streams would otherwise map to the same cache set.
constexpr Index stride_of(Index tiles, Index channels) { return tiles * channels + 16; }
constexpr Index points_of(Index tiles, Index channels) { return kWinoPoints * stride_of(tiles, channels); }

// Rows of a map from column `begin` up to `end`, `column` values apart; outside, and where a row is null, it is zero.
template <class T, int Count>
struct MapRows {
  const T* row[Count];  // at column `begin`
  Index begin, end, column, channels;
};

template <class T>
using InputRows = MapRows<T, f43::kReach>;
template <class T>
using TileRows = MapRows<T, f43::kTile>;

// Rows top..top + Count - 1 of an image of `height` rows, [height][width][channels].
template <int Count, class T>
inline MapRows<T, Count> rows_of(const T* image, Index top, Index height, Index width, Index channels) {
  MapRows<T, Count> rows{{}, 0, width, channels, channels};
  for (int r = 0; r < Count; ++r) {
    const Index y = top + r;
    rows.row[r] = y >= 0 && y < height ? image + y * width * channels : nullptr;
  }
  return rows;
}

// Hides from the compiler how an address was computed. It would otherwise hoist all 36 addresses of a square out of the
// loop over tiles and spill them, and reloading them takes as long as the transform.
template <class T>
inline T* opaque(T* address) {
  asm("" : "+r"(address));
  return address;
}

// Calls visit(k, address) for `Count` addresses `step` apart, at most 6, which need two registers.
template <int Count, class T, class Visit>
inline void for_each_strided(T* first, Index step, Visit visit) {
  constexpr int kNear = 3;  // what an instruction can add to an address is the step or twice the step
  T* const near = opaque(first);
  T* const far = opaque(near + kNear * step);
#pragma GCC unroll 6
  for (int k = 0; k < Count; ++k) visit(k, k < kNear ? near + k * step : far + (k - kNear) * step);
}

// A square of a map at column `x`, channels from `c` on, `present` of which exist: calls use(line), where line(r,
// values) loads line r. Lines are loaded as they are transformed, for a square is more than there are registers.
template <class T, int Count, class Use>
inline void with_square(const MapRows<T, Count>& rows, Index x, Index c, Index present, Use use) {
  bool whole = x >= rows.begin && x + Count <= rows.end && present >= kLanes;
  for (int r = 0; r < Count; ++r) whole = whole && rows.row[r];
  const Index offset = (x - rows.begin) * rows.column + c, column = rows.column;
  if (whole) {
    use([&](int r, Vec(&line)[Count]) {
      for_each_strided<Count>(rows.row[r] + offset, column, [&](int k, const T* at) {
        line[k] = load(at, AllLanes{});
        // Prefetch of the next tile: these are too many streams for the hardware prefetcher.
        if (k >= Count - kWinoTile) __builtin_prefetch(at + kWinoTile * column);
      });
    });
    return;
  }
  const SomeLanes lanes{int(min_of(present, kLanes))};
  use([&](int r, Vec(&line)[Count]) {
    for (int k = 0; k < Count; ++k) {
      line[k] = Vec{};
      if (!rows.row[r] || x + k < rows.begin || x + k >= rows.end || present <= 0) continue;
      const T* at = rows.row[r] + offset + k * column;
      line[k] = lanes.count == kLanes ? load(at, AllLanes{}) : load(at, lanes);
    }
  });
}

// Applies a transform of one dimension to both of a square: [Count][Count] -> [6][6]; put(q, values) gets the points
// p * 6 + q.
template <int Count, class Line, class Transform, class Put>
inline void transform_square(Line line_of, Transform transform, Put put) {
  Vec half[Count][f43::kPoints];
#pragma GCC unroll 6
  for (int r = 0; r < Count; ++r) {
    Vec line[Count];
    line_of(r, line);
    transform(line, half[r]);
  }
#pragma GCC unroll 6
  for (int q = 0; q < f43::kPoints; ++q) {
    Vec line[Count], values[f43::kPoints];
#pragma GCC unroll 6
    for (int r = 0; r < Count; ++r) line[r] = half[r][q];
    transform(line, values);
    put(q, values);
  }
}

// A transformed square -> a tile's points, `stride` apart from `first` on.
template <int Count, class Line, class Transform>
inline void store_points(Line line_of, Transform transform, float* first, Index stride) {
  transform_square<Count>(line_of, transform, [&](int q, const Vec(&values)[f43::kPoints]) {
    for_each_strided<f43::kPoints>(first + q * stride, f43::kPoints * stride,
                                   [&](int p, float* at) { store(at, values[p], AllLanes{}); });
  });
}

// Inputs of `tiles` tiles, the first of whose outputs start at column `left` -> points, [tiles][pitch] each and
// `stride` apart; `wide` channels are written.
template <class T>
void input_points(const InputRows<T>& rows, Index left, Index tiles, Index wide, Index pitch, float* to, Index stride) {
  for (Index tile = 0; tile < tiles; ++tile) {
    for (Index c = 0; c < wide; c += kLanes) {
      with_square(rows, left + tile * kWinoTile - 1, c, rows.channels - c, [&](auto line) {
        store_points<f43::kReach>(line, f43::transform_input, to + tile * pitch + c, stride);
      });
    }
  }
}

template <class T>
void input_points(const InputRows<T>& rows, Index left, Index tiles, Index wide, float* to, Index stride) {
  input_points(rows, left, tiles, wide, wide, to, stride);
}

// Gradients of the tiles' outputs -> points likewise: the transpose of output_tile().
template <class T>
void gradient_points(const TileRows<T>& rows, Index left, Index tiles, Index wide, float* to, Index stride) {
  for (Index tile = 0; tile < tiles; ++tile) {
    for (Index c = 0; c < wide; c += kLanes) {
      with_square(rows, left + tile * kWinoTile, c, rows.channels - c,
                  [&](auto line) { store_points<f43::kTile>(line, f43::expand_output, to + tile * wide + c, stride); });
    }
  }
}

using Values = Vec[f43::kTile][f43::kTile];  // a tile's outputs

// How much of a tile exists: known when the code is compiled where all of it does.
struct WholeTile {
  static constexpr Index height = kWinoTile, width = kWinoTile;
};
struct PartOfTile {
  Index height, width;
};

// use(part, lanes) for a tile at `row` and `column` whose map ends at `bottom` and `right`, and a vector of `channels`.
template <class Use>
inline void with_part(Index row, Index bottom, Index column, Index right, Index channels, Use use) {
  if (bottom - row >= kWinoTile && right - column >= kWinoTile && channels >= kLanes) {
    use(WholeTile{}, AllLanes{});
  } else {
    use(PartOfTile{min_of(bottom - row, kWinoTile), min_of(right - column, kWinoTile)},
        SomeLanes{int(min_of(channels, kLanes))});
  }
}

// One tile's sums of products, `stride` apart -> its 4x4 outputs.
inline void output_tile(const float* from, Index stride, Values& out) {
  Vec half[f43::kTile][f43::kPoints];
#pragma GCC unroll 6
  for (int q = 0; q < f43::kPoints; ++q) {
    Vec line[f43::kPoints], values[f43::kTile];
    for_each_strided<f43::kPoints>(from + q * stride, f43::kPoints * stride,
                                   [&](int p, const float* at) { line[p] = load(at, AllLanes{}); });
    f43::transform_output(line, values);
#pragma GCC unroll 4
    for (int r = 0; r < f43::kTile; ++r) half[r][q] = values[r];
  }
#pragma GCC unroll 4
  for (int r = 0; r < f43::kTile; ++r) f43::transform_output(half[r], out[r]);
}

// Software prefetch of rows of an image, in equal shares while the products of 36 points are computed: the rows are too
// scattered for the hardware prefetcher.
template <bool Written>
struct Prefetch {
  const char* first = nullptr;
  Index rows = 0, bytes = 0, stride = 0;  // of a row; to the next one

  // Rows top..top + 3 of an image of `height` rows, columns begin..end - 1.
  template <class T>
  static Prefetch of(const T* image, Index top, Index begin, Index end, Index height, Index width, Index channels) {
    const Index line = width * channels, rows = min_of(height - top, kWinoTile);
    return {reinterpret_cast<const char*>(image + top * line + begin * channels), rows,
            (end - begin) * channels * Index(sizeof(T)), line * Index(sizeof(T))};
  }

  void issue(Index point) const {
    constexpr Index kLine = 64, kShares = kWinoPoints / kWinoTile;
    const Index row = point / kShares, share = point % kShares;
    if (row >= rows) return;
    const Index begin = share * bytes / kShares / kLine * kLine, end = (share + 1) * bytes / kShares;
    for (Index i = begin; i < end; i += kLine) __builtin_prefetch(first + row * stride + i, Written);
  }
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
