#pragma once

#include "cpu/winograd_tiles.h"

// Weights at 36 points, as launch_conv3x3_prepare() leaves them in one buffer: in fp32, then in fixed point.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// Channel i of a vector is paired with channel i of the next one; sums of products are 32 bits wide over a group.
constexpr Index kFixedPair = 2 * kConv3x3Vector, kFixedGroup = 64;

struct PointLayout {
  Index c, c_wide, o_wide;  // channels; in whole kConv3x3Vector
  Index pairs, groups;      // of input channels

  PointLayout(Index channels, Index o)
      : c(channels),
        c_wide(round_up(c, kConv3x3Vector)),
        o_wide(round_up(o, kConv3x3Vector)),
        pairs(ceil_div(c, kFixedPair) * kConv3x3Vector),
        groups(ceil_div(c, kFixedGroup)) {}

  Index pairs_at() const { return kWinoPoints * c_wide * o_wide; }                // [36][pairs][o_wide], 2 x 16 bits
  Index scales_at() const { return pairs_at() + kWinoPoints * pairs * o_wide; }   // [36][groups][o_wide]
  Index size() const { return scales_at() + kWinoPoints * groups * o_wide; }
};

// Activations in fixed point have 15 bits and a sign. Not quite 32767: they are rounded twice.
constexpr float kFixedMost = 32760;

// The most that the transform of a tile of values up to 1 gives at a point: products of its rows' absolute sums.
struct PointBounds {
  float values[kWinoPoints];
};

constexpr PointBounds point_bounds() {
  using namespace f43;
  constexpr float kEnd = kA2 * kB2 + (kA2 + kB2) + 1;
  constexpr float kNear = kA * kB2 + kB2 + kA + 1, kFar = kB * kA2 + kA2 + kB + 1;
  constexpr float kLine[kPoints] = {kEnd, kNear, kNear, kFar, kFar, kEnd};
  PointBounds bounds{};
  for (int p = 0; p < kPoints; ++p) {
    for (int q = 0; q < kPoints; ++q) bounds.values[p * kPoints + q] = kLine[p] * kLine[q];
  }
  return bounds;
}

constexpr PointBounds kPointBounds = point_bounds();

// Adding 1.5 * 2^23 rounds to an integer and leaves its low bits in the float's.
constexpr float kRoundingShift = 12582912.0f;

inline VecU32 low_words(Vec rounded) { return (VecU32)rounded & 0xffff; }
inline VecU32 high_words(Vec rounded) { return (VecU32)rounded << 16; }

// One point's weights [c_wide][o_wide] -> pairs and scales. Weights have as many bits as keep the sum over a group,
// with activations as large as can be, within 32 bits.
inline void fix_weights(const PointLayout& layout, Index point, float* buffer) {
  constexpr float kMostSum = 65471, kMostWeight = 32760;  // 65471 and 64 roundings by a half: below 2^16
  const Index o_wide = layout.o_wide;
  const float* points = buffer + point * layout.c_wide * o_wide;
  auto* pairs = reinterpret_cast<std::uint32_t*>(buffer + layout.pairs_at()) + point * layout.pairs * o_wide;
  float* scales = buffer + layout.scales_at() + point * layout.groups * o_wide;
  for (Index group = 0; group < layout.groups; ++group) {
    const Index first = group * kFixedGroup, last = min_of(first + kFixedGroup, layout.c_wide);
    for (Index o = 0; o < o_wide; o += kLanes) {
      Vec sum{}, largest{};
      for (Index c = first; c < last; ++c) {
        Vec value = load(points + c * o_wide + o, AllLanes{});
        value = value < Vec{} ? -value : value;
        sum += value;
        largest = value > largest ? value : largest;
      }
      const Vec by_sum = sum / kMostSum, by_weight = largest / kMostWeight;
      const Vec step = by_sum > by_weight ? by_sum : by_weight;
      const Vec steps = step > Vec{} ? 1 / step : Vec{};
      store(scales + group * o_wide + o, step * (kPointBounds.values[point] / kFixedMost), AllLanes{});
      for (Index c = first; c < last; c += kFixedPair) {
        for (Index i = 0; i < kConv3x3Vector; ++i) {
          const float* weight = points + (c + i) * o_wide + o;
          const Vec low = load(weight, AllLanes{}) * steps + kRoundingShift;
          const bool paired = c + kConv3x3Vector < layout.c_wide;
          const Vec next = paired ? load(weight + kConv3x3Vector * o_wide, AllLanes{}) : Vec{};
          const VecU32 pair = low_words(low) | high_words(next * steps + kRoundingShift);
          store_raw(pairs + (c / 2 + i) * o_wide + o, pair, AllLanes{});
        }
      }
    }
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
