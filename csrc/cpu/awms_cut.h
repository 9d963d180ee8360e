#pragma once

#include <algorithm>

#include "common/tiles.h"
#include "cpu/awms.h"

// Sizes for cpu/awms.cpp, computed once by the bindings: an inline function here must not be shared with sources that
// are compiled for several instruction sets.
namespace awsrn_fast {

constexpr Index awms_wide(Index channels) { return round_up(channels, kAwmsVector); }

// About 32 tiles a group: enough to share out, and their transforms of 32 and 48 channels take 4 MB.
constexpr AwmsCut awms_cut(Index n, Index c, Index o, Index h, Index w) {
  constexpr Index kGroup = 32;
  const Index wide = std::max<Index>(1, ceil_div(w, kAwmsTile));
  const Index across = ceil_div(wide, kGroup), tiles = ceil_div(wide, across), down = ceil_div(h, kAwmsTile);
  const Index segments = w ? n * down * across : 0;
  const Index group = std::clamp<Index>(kGroup / tiles, 1, std::max<Index>(1, segments));
  const Index columns = tiles * kAwmsTile + kAwmsTaps - 1, c_wide = awms_wide(c), o_wide = awms_wide(o);
  // A vector more, so that a stride is no multiple of a page: 30 streams would share a cache set.
  const Index input = group * columns * c_wide + kAwmsVector;
  const Index output = group * tiles * kAwmsTile * o_wide + kAwmsVector;
  return {across, tiles, down, segments, group, columns, c_wide, o_wide, input, output};
}

// Floats of scratch for a convolution or, larger, for a weight gradient.
constexpr Index awms_scratch(const AwmsShape& s, bool gradient) {
  const AwmsCut& cut = s.cut;
  const Index maps = kAwmsPoints * (cut.input_stride + cut.output_stride);
  const Index thread = kAwmsPoints * kAwmsChunk * (cut.c + cut.o);
  const Index sums = kAwmsPoints * kAwmsPoints * cut.c * cut.o + cut.segments * cut.o;
  return maps + s.threads * thread + (gradient ? sums : 0);
}

}  // namespace awsrn_fast
