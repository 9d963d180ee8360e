#pragma once

#include <algorithm>

#include "common/tiles.h"
#include "cpu/awms.h"

// Sizes for cpu/awms.cpp, computed once by the bindings: an inline function here must not be shared with sources that
// are compiled for several instruction sets.
namespace awsrn_fast {

constexpr std::int64_t awms_wide(std::int64_t channels) { return ceil_div(channels, kAwmsVector) * kAwmsVector; }

// About 32 tiles a group: enough to share out, and their transforms of 32 and 48 channels take 4 MB.
constexpr AwmsCut awms_cut(std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w) {
  constexpr std::int64_t kGroup = 32;
  const std::int64_t wide = std::max<std::int64_t>(1, ceil_div(w, kAwmsTile));
  const std::int64_t across = ceil_div(wide, kGroup), tiles = ceil_div(wide, across), down = ceil_div(h, kAwmsTile);
  const std::int64_t segments = w ? n * down * across : 0;
  const std::int64_t group = std::clamp<std::int64_t>(kGroup / tiles, 1, std::max<std::int64_t>(1, segments));
  const std::int64_t columns = tiles * kAwmsTile + kAwmsTaps - 1, c_wide = awms_wide(c), o_wide = awms_wide(o);
  // A vector more, so that a stride is no multiple of a page: 30 streams would share a cache set.
  const std::int64_t input = group * columns * c_wide + kAwmsVector;
  const std::int64_t output = group * tiles * kAwmsTile * o_wide + kAwmsVector;
  return {across, tiles, down, segments, group, columns, c_wide, o_wide, input, output};
}

// Floats of scratch for a convolution or, larger, for a weight gradient.
constexpr std::int64_t awms_scratch(const AwmsShape& s, bool gradient) {
  const AwmsCut& cut = s.cut;
  const std::int64_t maps = kAwmsPoints * (cut.input_stride + cut.output_stride);
  const std::int64_t thread = kAwmsPoints * kAwmsChunk * (cut.c + cut.o);
  const std::int64_t sums = kAwmsPoints * kAwmsPoints * cut.c * cut.o + cut.segments * cut.o;
  return maps + s.threads * thread + (gradient ? sums : 0);
}

}  // namespace awsrn_fast
