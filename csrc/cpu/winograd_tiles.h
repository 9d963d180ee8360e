#pragma once

#include "cpu/conv3x3.h"
#include "cpu/gemm.h"
#include "cpu/winograd.h"

// 3x3 convolutions as products at 36 points a tile of 4x4 outputs: maps to points, products, points back to values.
// Points of a chunk of tiles are 36 arrays [tiles][channels], channels padded to whole vectors.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

constexpr std::int64_t kWinoTile = f43::kTile, kWinoPoints = f43::kPoints * f43::kPoints;
constexpr std::int64_t kMostTiles = kConv3x3Chunk + 1;  // side by side, with a panel's margins

// From one point's array to the next one's. A cache line more than the array has, for sizes are multiples of large powers
// of two, and 36 streams would share a cache set.
constexpr std::int64_t stride_of(std::int64_t tiles, std::int64_t channels) { return tiles * channels + 16; }
constexpr std::int64_t points_of(std::int64_t tiles, std::int64_t channels) {
  return kWinoPoints * stride_of(tiles, channels);
}

// Rows of a map from column `begin` up to `end`, `column` values apart; outside, and where a row is null, it is zero.
template <class T, int Count>
struct Rows {
  const T* row[Count];  // at column `begin`
  std::int64_t begin, end, column, channels;
};

template <class T>
using InputRows = Rows<T, f43::kReach>;
template <class T>
using TileRows = Rows<T, f43::kTile>;

// Rows top..top + Count - 1 of an image of `height` rows, [height][width][channels].
template <int Count, class T>
inline Rows<T, Count> rows_of(const T* image, std::int64_t top, std::int64_t height, std::int64_t width,
                              std::int64_t channels) {
  Rows<T, Count> rows{{}, 0, width, channels, channels};
  for (int r = 0; r < Count; ++r) {
    const std::int64_t y = top + r;
    rows.row[r] = y >= 0 && y < height ? image + y * width * channels : nullptr;
  }
  return rows;
}

// Loads a square at column `x`, channels from `c` on; `present` channels of the vector exist.
template <class T, int Count>
inline void load_square(const Rows<T, Count>& rows, std::int64_t x, std::int64_t c, std::int64_t present,
                        Vec (&square)[Count][Count]) {
  bool whole = x >= rows.begin && x + Count <= rows.end && present >= kLanes;
  for (int r = 0; r < Count; ++r) whole = whole && rows.row[r];
  const std::int64_t offset = (x - rows.begin) * rows.column + c;
  if (whole) {
#pragma GCC unroll 6
    for (int r = 0; r < Count; ++r) {
#pragma GCC unroll 6
      for (int k = 0; k < Count; ++k) square[r][k] = load(rows.row[r] + offset + k * rows.column, AllLanes{});
#pragma GCC unroll 4
      for (int k = Count - kWinoTile; k < Count; ++k) {  // of the next tile: too many streams for the hardware's
        __builtin_prefetch(rows.row[r] + offset + (k + kWinoTile) * rows.column);
      }
    }
    return;
  }
  const SomeLanes lanes{int(present < kLanes ? present : kLanes)};
  for (int r = 0; r < Count; ++r) {
    for (int k = 0; k < Count; ++k) {
      const bool inside = rows.row[r] && x + k >= rows.begin && x + k < rows.end && present > 0;
      square[r][k] = inside ? load(rows.row[r] + offset + k * rows.column, lanes) : Vec{};
    }
  }
}

// Applies a transform of one dimension to both: [Count][Count] -> [6][6]; put(point, value) gets them.
template <int Count, class Transform, class Put>
inline void transform_square(const Vec (&square)[Count][Count], Transform transform, Put put) {
  Vec half[Count][f43::kPoints];
#pragma GCC unroll 6
  for (int r = 0; r < Count; ++r) transform(square[r], half[r]);
#pragma GCC unroll 6
  for (int q = 0; q < f43::kPoints; ++q) {
    Vec line[Count], values[f43::kPoints];
#pragma GCC unroll 6
    for (int r = 0; r < Count; ++r) line[r] = half[r][q];
    transform(line, values);
#pragma GCC unroll 6
    for (int p = 0; p < f43::kPoints; ++p) put(p * f43::kPoints + q, values[p]);
  }
}

// Inputs of `tiles` tiles, the first of whose outputs start at column `left` -> points, [tiles][pitch] each and
// `stride` apart; `wide` channels are written.
template <class T>
void input_points(const InputRows<T>& rows, std::int64_t left, std::int64_t tiles, std::int64_t wide,
                  std::int64_t pitch, float* to, std::int64_t stride) {
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    for (std::int64_t c = 0; c < wide; c += kLanes) {
      Vec square[f43::kReach][f43::kReach];
      load_square(rows, left + tile * kWinoTile - 1, c, rows.channels - c, square);
      float* first = to + tile * pitch + c;
      transform_square(square, f43::transform_input,
                       [&](int point, Vec value) { store(first + point * stride, value, AllLanes{}); });
    }
  }
}

template <class T>
void input_points(const InputRows<T>& rows, std::int64_t left, std::int64_t tiles, std::int64_t wide, float* to,
                  std::int64_t stride) {
  input_points(rows, left, tiles, wide, wide, to, stride);
}

// Gradients of the tiles' outputs -> points likewise: the transpose of output_tile().
template <class T>
void gradient_points(const TileRows<T>& rows, std::int64_t left, std::int64_t tiles, std::int64_t wide, float* to,
                     std::int64_t stride) {
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    for (std::int64_t c = 0; c < wide; c += kLanes) {
      Vec square[f43::kTile][f43::kTile];
      load_square(rows, left + tile * kWinoTile, c, rows.channels - c, square);
      float* first = to + tile * wide + c;
      transform_square(square, f43::expand_output,
                       [&](int point, Vec value) { store(first + point * stride, value, AllLanes{}); });
    }
  }
}

// One tile's sums of products, `stride` apart -> its 4x4 outputs.
inline void output_tile(const float* from, std::int64_t stride, Vec (&out)[f43::kTile][f43::kTile]) {
  Vec half[f43::kTile][f43::kPoints];
#pragma GCC unroll 6
  for (int q = 0; q < f43::kPoints; ++q) {
    Vec line[f43::kPoints], values[f43::kTile];
#pragma GCC unroll 6
    for (int p = 0; p < f43::kPoints; ++p) line[p] = load(from + (p * f43::kPoints + q) * stride, AllLanes{});
    f43::transform_output(line, values);
#pragma GCC unroll 4
    for (int r = 0; r < f43::kTile; ++r) half[r][q] = values[r];
  }
#pragma GCC unroll 4
  for (int r = 0; r < f43::kTile; ++r) f43::transform_output(half[r], out[r]);
}

// Memory that is needed soon, asked for in shares while products are computed: it is too scattered for the hardware to
// foresee.
template <bool Written>
struct Soon {
  const char* first = nullptr;
  std::int64_t rows = 0, bytes = 0, stride = 0;  // of a row; to the next one

  // Rows top..top + 3 of an image of `height` rows, columns begin..end - 1.
  template <class T>
  static Soon of(const T* image, std::int64_t top, std::int64_t begin, std::int64_t end, std::int64_t height,
                 std::int64_t width, std::int64_t channels) {
    const std::int64_t line = width * channels, rows = lesser(height - top, kWinoTile);
    return {reinterpret_cast<const char*>(image + top * line + begin * channels), rows,
            (end - begin) * channels * std::int64_t(sizeof(T)), line * std::int64_t(sizeof(T))};
  }

  void ask(std::int64_t point) const {
    constexpr std::int64_t kLine = 64, kShares = kWinoPoints / kWinoTile;
    const std::int64_t row = point / kShares, share = point % kShares;
    if (row >= rows) return;
    const std::int64_t begin = share * bytes / kShares / kLine * kLine, end = (share + 1) * bytes / kShares;
    for (std::int64_t i = begin; i < end; i += kLine) __builtin_prefetch(first + row * stride + i, Written);
  }
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
