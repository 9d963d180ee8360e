#pragma once

#include "cpu/wide_residual.h"
#include "cpu/winograd_arithmetic.h"
#include "cpu/workspace.h"

// What the unit's forward and backward pass share: panels, rings of wide rows, and the convolutions into a ring and out
// of it, a row of tiles at a time.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline std::int64_t greater(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
inline std::int64_t tiles_in(std::int64_t size) { return (size + kWinoTile - 1) / kWinoTile; }

inline void keep(float* to, Vec value) { store(to, value, AllLanes{}); }
inline void keep(bf16* to, Vec value) { store_raw(to, narrow_factor(value), AllLanes{}); }

// Columns of a panel, and those of the wide map that it needs.
struct Panel {
  std::int64_t begin, end, wide_begin, wide_end;
  Panel(const WideResidualShape& s, std::int64_t index) {
    const std::int64_t tiles = tiles_in(s.w);
    begin = index * tiles / s.panels * kWinoTile;
    end = lesser((index + 1) * tiles / s.panels * kWinoTile, s.w);
    wide_begin = greater(begin - 1, 0);
    wide_end = lesser(end + 1, s.w);
  }
  std::int64_t tiles() const { return tiles_in(end - begin); }
  std::int64_t wide_tiles() const { return tiles_in(wide_end - wide_begin); }
};

// Most tiles of a panel, with the margins, which may take a tile more.
inline std::int64_t widest(const WideResidualShape& s) { return lesser(kWideChunk, tiles_in(s.w)) + (s.panels > 1); }

// The last `rows` rows of tiles of a wide map's panel, [4 * rows][columns][wide K].
template <class Kept>
struct Ring {
  Kept* values;
  std::int64_t rows, line;
  Ring(const WideResidualShape& s, std::int64_t rows_of_tiles, Workspace& space)
      : rows(rows_of_tiles * kWinoTile), line(widest(s) * kWinoTile * s.k_wide + 16) {
    values = reinterpret_cast<Kept*>(space.take(rows * line * std::int64_t(sizeof(Kept)) / std::int64_t(sizeof(float))));
  }
  Kept* row(std::int64_t y) const { return values + y % rows * line; }

  // Rows top..top + Count - 1, channels from `k` on.
  template <int Count>
  Rows<Kept, Count> at(const WideResidualShape& s, const Panel& panel, std::int64_t top, std::int64_t k,
                       std::int64_t channels) const {
    Rows<Kept, Count> found{{}, panel.wide_begin, panel.wide_end, s.k_wide, channels};
    for (int r = 0; r < Count; ++r) {
      const std::int64_t y = top + r;
      found.row[r] = y >= 0 && y < s.h ? row(y) + k : nullptr;
    }
    return found;
  }
};

constexpr std::int64_t kWideBlock = 64;  // wide channels that pass from products to values at once

// Points of a convolution's input, then of its output.
inline std::int64_t strip_scratch(const WideResidualShape& s) {
  const std::int64_t tiles = widest(s), narrow = points_of(tiles, s.c_wide);
  return narrow + points_of(tiles, s.k_wide);
}

// A tile of the wide map: bias and ReLU.
inline void rectify(Values& values, const float* bias) {
  const Vec shift = load(bias, AllLanes{});
#pragma GCC unroll 4
  for (int r = 0; r < f43::kTile; ++r) {
#pragma GCC unroll 4
    for (int u = 0; u < f43::kTile; ++u) {
      const Vec value = values[r][u] + shift;
      values[r][u] = value < Vec{} ? Vec{} : value;  // a NaN stays one: no comparison with it holds
    }
  }
}

// A convolution of `image` into the row of tiles that starts at row `row`: finish(values, channel, row of the ring, place in
// it) makes what is kept of a tile's outputs.
template <class T, class Arithmetic, class Finish>
inline void widen(const WideResidualShape& s, const T* image, const float* weights, const Panel& panel,
                  std::int64_t row, const Ring<typename Arithmetic::Kept>& ring, Arithmetic& arithmetic, float* in,
                  Finish finish) {
  const std::int64_t tiles = panel.wide_tiles(), column = s.k_wide;
  const PointLayout layout(s.c, s.k);
  const auto rows = rows_of<f43::kReach>(image, row - 1, s.h, s.w, s.c);
  arithmetic.input(&rows, 1, panel.wide_begin, tiles, layout, in);
  float* out = in + points_of(tiles, s.c_wide);
  const auto next = Soon<false>::of(image, row + f43::kReach - 1, panel.wide_begin, panel.wide_end, s.h, s.w, s.c);
  for (std::int64_t block = 0; block < column; block += kWideBlock) {
    const std::int64_t channels = lesser(kWideBlock, column - block), stride = stride_of(tiles, channels);
    arithmetic.multiply(tiles, layout, weights, block, channels, in, out,
                        [&](std::int64_t point) { if (!block) next.ask(point); });
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      for (std::int64_t k = 0; k < channels; k += kLanes) {
        Values values;
        arithmetic.output(out + tile * channels + k, tile, stride, values);
        const std::int64_t place = tile * kWinoTile * column + block + k;
        finish(values, block + k, row % ring.rows, place);
#pragma GCC unroll 4
        for (int r = 0; r < f43::kTile; ++r) {  // a tile's rows are not parted
          along<f43::kTile>(ring.row(row) + r * ring.line + place, column,
                            [&](int u, auto* at) { keep(at, values[r][u]); });
        }
      }
    }
  }
}

// A convolution out of the ring at the row of tiles that starts at row `row`: put(row, column, channel, values, part, lanes)
// gets every tile's outputs, channels outermost, and `part` says how many of them; done(channel) ends each vector of
// channels. soon(point) asks for what put() will want, in 36 shares.
template <class Arithmetic, class Ask, class Put, class Done>
inline void narrow(const WideResidualShape& s, const float* weights, const Panel& panel, std::int64_t row,
                   const Ring<typename Arithmetic::Kept>& ring, Arithmetic& arithmetic, float* in, Ask soon, Put put,
                   Done done) {
  const std::int64_t tiles = panel.tiles();
  const PointLayout layout(s.k, s.c);
  const auto rows = ring.template at<f43::kReach>(s, panel, row - 1, 0, s.k_wide);
  arithmetic.input(&rows, 1, panel.begin, tiles, layout, in);
  float* out = in + points_of(tiles, s.k_wide);
  arithmetic.multiply(tiles, layout, weights, 0, s.c_wide, in, out, soon);
  for (std::int64_t c = 0; c < s.c; c += kLanes) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      Values values;
      arithmetic.output(out + tile * s.c_wide + c, tile, stride_of(tiles, s.c_wide), values);
      const std::int64_t column = panel.begin + tile * kWinoTile;
      with_part(row, s.h, column, panel.end, s.c - c,
                [&](auto part, auto lanes) { put(row, column, c, values, part, lanes); });
    }
    done(c);
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
