#pragma once

#include "cpu/dwpw_attention.h"
#include "cpu/gemm.h"
#include "cpu/tile.h"
#include "cpu/workspace.h"

// Maps in NCHW: what forward shares with backward, which computes Y and the gate again instead of keeping their maps.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

struct Sizes {
  Index c, d;    // channels in and out, padded
  Index blocks;  // tiles a row
  Index tile;    // positions a tile, whole vectors
  Index line;    // positions a row: the tiles, with a vector of zeros on either side
  Index strips;  // an image

  explicit Sizes(const DwpwAttentionShape& s) {
    const Index vecs = ceil_div(s.w, kLanes);
    c = whole_vectors(s.c);
    d = whole_vectors(s.d);
    blocks = ceil_div(vecs, kMaxVecs);
    tile = blocks ? ceil_div(vecs, blocks) * kLanes : 0;
    line = blocks * tile + 2 * kLanes;
    strips = s.rows ? ceil_div(s.h, s.rows) : 0;
  }
};

// The last three rows of a map, each [channels, line] with zeros around; outside the map a row is all zeros.
struct RowRing {
  float* values;
  Index channels, line;

  float* row(Index y) const { return values + (y + 3) % 3 * channels * line; }
  float* inside(Index y, Index channel, Index x) const { return row(y) + channel * line + kLanes + x; }
  void clear(Index y) const {
    float* to = row(y);
    for (Index i = 0; i < channels * line; ++i) to[i] = 0;
  }
  static Index size(Index channels, Index line) { return 3 * channels * line; }
};

template <class T>
inline void read_row(const DwpwAttentionShape& s, const T* x, Index image, Index y, const RowRing& rows) {
  if (y < 0 || y >= s.h) return rows.clear(y);
  load_tile(x, run_of(image, y, 0, s.c, s.h, s.w), s.c, s.w, rows.inside(y, 0, 0), rows.line);
}

template <class T>
inline void prefetch_row(const DwpwAttentionShape& s, const T* x, Index image, Index y, Index column, Index count) {
  if (y < s.h) prefetch_tile(x, run_of(image, y, column, s.c, s.h, s.w), s.c, count);
}

// A tile of the 3x3 depthwise convolution of `rows` around row y; flipped: of its transpose, the gradient's.
template <bool flipped>
inline void depthwise(const RowRing& rows, Index channels, Index y, Index x, Index tile, const float* weights,
                      const float* bias, float* out) {
  for (Index c = 0; c < channels; ++c) {
    Vec w[9];
    for (int k = 0; k < 9; ++k) w[k] = splat(weights[c * 9 + (flipped ? 8 - k : k)]);
    const Vec start = splat(bias ? bias[c] : 0.0f);
    const float *above = rows.inside(y - 1, c, x), *here = rows.inside(y, c, x), *below = rows.inside(y + 1, c, x);
    for (Index p = 0; p < tile; p += kLanes) {
      Vec sum = start, other{};
      for (int k = 0; k < 3; ++k) {
        sum += w[k] * load(above + p + k - 1, AllLanes{});
        other += w[3 + k] * load(here + p + k - 1, AllLanes{});
        sum += w[6 + k] * load(below + p + k - 1, AllLanes{});
      }
      store(out + c * tile + p, sum + other, AllLanes{});
    }
  }
}

struct Tiles {
  float *depthwise, *y, *s, *map;  // [C, tile], and three of [D, tile]

  Tiles(Workspace& workspace, const Sizes& z)
      : depthwise(workspace.take(z.c * z.tile)),
        y(workspace.take(z.d * z.tile)),
        s(workspace.take(z.d * z.tile)),
        map(workspace.take((z.c > z.d ? z.c : z.d) * z.tile)) {}
};

// Y and w_a Y + b_a for the tile at (y, x).
inline void tile_forward(const DwpwAttentionShape& s, const DwpwAttentionWeights& w, const Sizes& z,
                         const RowRing& rows, Index y, Index x, const Tiles& t) {
  depthwise<false>(rows, s.c, y, x, z.tile, w.w_dw, w.b_dw, t.depthwise);
  gemm(s.d, z.tile / kLanes, s.c, {w.w_pw, s.c}, {t.depthwise, z.tile}, t.y, z.tile, {w.b_pw, false});
  gemm(s.d, z.tile / kLanes, s.d, {w.w_a, s.d}, {t.y, z.tile}, t.s, z.tile, {w.b_a, false});
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
