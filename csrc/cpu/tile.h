#pragma once

#include <utility>

#include "cpu/vec.h"

// Tiles of maps in NCHW: fp32 in scratch as [channels, positions] whatever the map's dtype, with both padded to whole
// vectors.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

template <int Step, int... Lane>
inline void exchange(Vec& a, Vec& b, std::integer_sequence<int, Lane...>) {
#if defined(__clang__)
  const Vec even = __builtin_shufflevector(a, b, (Lane & Step ? Lane - Step + kLanes : Lane)...);
  b = __builtin_shufflevector(a, b, (Lane & Step ? Lane + kLanes : Lane + Step)...);
#else
  const Vec even = __builtin_shuffle(a, b, VecU32{(Lane & Step ? Lane - Step + kLanes : Lane)...});
  b = __builtin_shuffle(a, b, VecU32{(Lane & Step ? Lane + kLanes : Lane + Step)...});
#endif
  a = even;
}

template <int Step>
inline void transpose_step(Vec* rows) {
  if constexpr (Step < kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (!(i & Step)) exchange<Step>(rows[i], rows[i + Step], std::make_integer_sequence<int, kLanes>{});
    }
    transpose_step<2 * Step>(rows);
  }
}

// Swaps ever larger blocks across the diagonal of a square of kLanes vectors.
inline void transpose(Vec* rows) { transpose_step<1>(rows); }

// to[position][channel] = from[channel][position]; sizes are whole vectors.
inline void transpose_tile(const float* from, Index from_stride, Index channels, Index positions, float* to,
                           Index to_stride) {
  for (Index c = 0; c < channels; c += kLanes) {
    for (Index p = 0; p < positions; p += kLanes) {
      Vec rows[kLanes];
      for (int i = 0; i < kLanes; ++i) rows[i] = load(from + (c + i) * from_stride + p, AllLanes{});
      transpose(rows);
      for (int i = 0; i < kLanes; ++i) store(to + (p + i) * to_stride + c, rows[i], AllLanes{});
    }
  }
}

// Where a run of positions lies in a map.
struct Run {
  Index offset, channel_stride;
};

// A run of positions of row `row` of image `image`, from column `column` on.
inline Run run_of(Index image, Index row, Index column, Index channels, Index height, Index width) {
  return {(image * channels * height + row) * width + column, height * width};
}

// Asks for what load_tile() will read, well before: rows of a few dozen positions are too short for the hardware's.
template <class T>
inline void prefetch_tile(const T* map, Run run, Index channels, Index count) {
  constexpr Index kLine = 64 / sizeof(T);
  for (Index c = 0; c < channels; ++c) {
    for (Index i = 0; i < count; i += kLine) __builtin_prefetch(map + run.offset + c * run.channel_stride + i);
  }
}

// Positions from `count` to the end of its last vector read as zero.
template <class T>
inline void load_tile(const T* map, Run run, Index channels, Index count, float* tile, Index stride) {
  const Index whole = count / kLanes * kLanes;
  for (Index c = 0; c < channels; ++c) {
    const T* row = map + run.offset + c * run.channel_stride;
    for (Index p = 0; p < whole; p += kLanes) {
      store(tile + c * stride + p, load(row + p, AllLanes{}), AllLanes{});
    }
    if (whole < count) {
      store(tile + c * stride + whole, load(row + whole, SomeLanes{int(count - whole)}), AllLanes{});
    }
  }
}

template <class T>
inline void store_tile(T* map, Run run, Index channels, Index count, const float* tile, Index stride) {
  const Index whole = count / kLanes * kLanes;
  for (Index c = 0; c < channels; ++c) {
    T* row = map + run.offset + c * run.channel_stride;
    for (Index p = 0; p < whole; p += kLanes) {
      store(row + p, load(tile + c * stride + p, AllLanes{}), AllLanes{});
    }
    if (whole < count) {
      store(row + whole, load(tile + c * stride + whole, AllLanes{}), SomeLanes{int(count - whole)});
    }
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
