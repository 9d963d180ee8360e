#pragma once

#include "cpu/wide_residual.h"
#include "cpu/winograd_arithmetic.h"
#include "cpu/workspace.h"

// What the unit's forward and backward pass share: panels, rings of wide rows, and the convolutions into a ring and out
// of it, a row of tiles at a time.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

inline Index tiles_in(Index size) { return ceil_div(size, kWinoTile); }

inline void keep(float* to, Vec value) { store(to, value, AllLanes{}); }
inline void keep(bf16* to, Vec value) { store_raw(to, to_bf16_factor(value), AllLanes{}); }

// Columns of a panel, and those of the wide map that it needs.
struct Panel {
  Index begin, end, wide_begin, wide_end;
  Panel(const WideResidualShape& s, Index index) {
    const Index tiles = tiles_in(s.w);
    begin = index * tiles / s.panels * kWinoTile;
    end = min_of((index + 1) * tiles / s.panels * kWinoTile, s.w);
    wide_begin = max_of(begin - 1, 0);
    wide_end = min_of(end + 1, s.w);
  }
  Index tiles() const { return tiles_in(end - begin); }
  Index wide_tiles() const { return tiles_in(wide_end - wide_begin); }
};

// Most tiles of a panel, with the margins, which may take a tile more.
inline Index widest(const WideResidualShape& s) { return min_of(kWideChunk, tiles_in(s.w)) + (s.panels > 1); }

// The last `rows` rows of tiles of a wide map's panel, [4 * rows][columns][wide K].
template <class Kept>
struct Ring {
  Kept* values;
  Index rows, line;
  Ring(const WideResidualShape& s, Index rows_of_tiles, Workspace& space)
      : rows(rows_of_tiles * kWinoTile), line(widest(s) * kWinoTile * s.k_wide + 16) {
    values = reinterpret_cast<Kept*>(space.take(rows * line * Index(sizeof(Kept)) / Index(sizeof(float))));
  }
  Kept* row(Index y) const { return values + y % rows * line; }

  // Rows top..top + Count - 1, channels from `k` on.
  template <int Count>
  MapRows<Kept, Count> at(const WideResidualShape& s, const Panel& panel, Index top, Index k, Index channels) const {
    MapRows<Kept, Count> found{{}, panel.wide_begin, panel.wide_end, s.k_wide, channels};
    for (int r = 0; r < Count; ++r) {
      const Index y = top + r;
      found.row[r] = y >= 0 && y < s.h ? row(y) + k : nullptr;
    }
    return found;
  }
};

constexpr Index kWideBlock = 64;  // wide channels that pass from products to values at once

// Points of a convolution's input, then of its output.
inline Index strip_scratch(const WideResidualShape& s) {
  const Index tiles = widest(s);
  return points_of(tiles, s.c_wide) + points_of(tiles, s.k_wide);
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

// A convolution of `image` into the row of tiles that starts at row `row`: finish(values, channel, row of the ring,
// place in it) makes what is kept of a tile's outputs.
template <class T, class Arithmetic, class Finish>
inline void convolve_into_ring(const WideResidualShape& s, const T* image, const float* weights, const Panel& panel,
                               Index row, const Ring<typename Arithmetic::Kept>& ring, Arithmetic& arithmetic,
                               float* in, Finish finish) {
  const Index tiles = panel.wide_tiles(), column = s.k_wide;
  const PointLayout layout(s.c, s.k);
  const auto rows = rows_of<f43::kReach>(image, row - 1, s.h, s.w, s.c);
  arithmetic.input(&rows, 1, panel.wide_begin, tiles, layout, in);
  float* out = in + points_of(tiles, s.c_wide);
  const auto next = Prefetch<false>::of(image, row + f43::kReach - 1, panel.wide_begin, panel.wide_end, s.h, s.w, s.c);
  for (Index block = 0; block < column; block += kWideBlock) {
    const Index channels = min_of(kWideBlock, column - block), stride = stride_of(tiles, channels);
    arithmetic.multiply(tiles, layout, weights, block, channels, in, out, [&](Index point) {
      if (!block) next.issue(point);
    });
    for (Index tile = 0; tile < tiles; ++tile) {
      for (Index k = 0; k < channels; k += kLanes) {
        Values values;
        arithmetic.output(out + tile * channels + k, tile, stride, values);
        const Index place = tile * kWinoTile * column + block + k;
        finish(values, block + k, row % ring.rows, place);
#pragma GCC unroll 4
        for (int r = 0; r < f43::kTile; ++r) {  // a tile's rows are not parted
          for_each_strided<f43::kTile>(ring.row(row) + r * ring.line + place, column,
                                       [&](int u, auto* at) { keep(at, values[r][u]); });
        }
      }
    }
  }
}

// A convolution out of the ring at the row of tiles that starts at row `row`: put(row, column, channel, values, part,
// lanes) gets every tile's outputs, channels outermost, and `part` says how many of them; done(channel) ends each
// vector of channels. before(point) is called ahead of the products of each of the 36 points, to prefetch what put()
// needs.
template <class Arithmetic, class Before, class Put, class Done>
inline void convolve_from_ring(const WideResidualShape& s, const float* weights, const Panel& panel, Index row,
                               const Ring<typename Arithmetic::Kept>& ring, Arithmetic& arithmetic, float* in,
                               Before before, Put put, Done done) {
  const Index tiles = panel.tiles();
  const PointLayout layout(s.k, s.c);
  const auto rows = ring.template at<f43::kReach>(s, panel, row - 1, 0, s.k_wide);
  arithmetic.input(&rows, 1, panel.begin, tiles, layout, in);
  float* out = in + points_of(tiles, s.k_wide);
  arithmetic.multiply(tiles, layout, weights, 0, s.c_wide, in, out, before);
  for (Index c = 0; c < s.c; c += kLanes) {
    for (Index tile = 0; tile < tiles; ++tile) {
      Values values;
      arithmetic.output(out + tile * s.c_wide + c, tile, stride_of(tiles, s.c_wide), values);
      const Index column = panel.begin + tile * kWinoTile;
      with_part(row, s.h, column, panel.end, s.c - c,
                [&](auto part, auto lanes) { put(row, column, c, values, part, lanes); });
    }
    done(c);
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
