#pragma once

#include "cpu/winograd_weights.h"

#if defined(__AVX512VNNI__)
// bf16 convolutions by Winograd in fixed point: VNNI multiplies twice as many 16-bit integers as an FMA does floats.
//
// Points in bf16 have too few bits, for the transforms take differences of large numbers. Integers of 16 bits have
// enough: all values of a tile share a scale, and the error is 1.0 to 1.2 times that of a direct convolution in bf16 on
// the maps of trained networks, where points in bf16 have 2.5 to 3.3 times as much.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

using Words = std::uint16_t __attribute__((vector_size(64)));
using Vec32 = std::int32_t __attribute__((vector_size(64)));

// Bits of bf16 values without their signs are ordered as the magnitudes are, a NaN above all.
inline Words larger(Words most, Words bits) {
  bits &= 0x7fff;
  return bits > most ? bits : most;
}

inline float largest_of(Words bits) {
  std::uint32_t most = 0;
  for (int i = 0; i < 32; ++i) most = bits[i] > most ? bits[i] : most;
  most <<= 16;
  float value;
  __builtin_memcpy(&value, &most, sizeof value);
  return value;
}

// `most`, or what is larger of one tile's inputs.
template <int Count>
inline Words larger_inputs(const MapRows<bf16, Count>& rows, Index x, Words most) {
  const Index begin = x > rows.begin ? x : rows.begin, end = min_of(x + Count, rows.end);
  for (int r = 0; r < Count; ++r) {
    if (!rows.row[r]) continue;
    const bf16* values = rows.row[r] + (begin - rows.begin) * rows.column;
    for (Index column = begin; column < end; ++column, values += rows.column) {
      Index c = 0;
      for (; c + 32 <= rows.channels; c += 32) {
        Words bits;
        __builtin_memcpy(&bits, values + c, sizeof bits);
        most = larger(most, bits);
      }
      if (c < rows.channels) most = larger(most, load_raw<Words>(values + c, SomeLanes{int(rows.channels - c)}));
    }
  }
  return most;
}

// sum + products of pairs. In assembly: the compiler moves the sums of the intrinsic from register to register.
inline Vec32 add_pairs(Vec32 sum, Vec32 a, Vec32 b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

// A block of out [tiles][outputs] (+)= a [tiles][pairs] by b [pairs][outputs], times a scale an output.
template <int Rows, int Vecs>
inline void fixed_block(Index pairs, const std::int32_t* a, Index a_stride, const std::int32_t* b, Index b_stride,
                        const float* scales, float* out, Index out_stride, bool add) {
  Vec32 sums[Rows][Vecs];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) sums[i][j] = Vec32{};
  }
  for (Index l = 0; l < pairs; ++l) {
    Vec32 row[Vecs];
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) row[j] = load_raw<Vec32>(b + l * b_stride + j * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec32 factor = a[i * a_stride + l] - Vec32{};
#pragma GCC unroll 4
      for (int j = 0; j < Vecs; ++j) sums[i][j] = add_pairs(sums[i][j], factor, row[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) {
      float* to = out + i * out_stride + j * kLanes;
      const Vec value = __builtin_convertvector(sums[i][j], Vec) * load(scales + j * kLanes, AllLanes{});
      store(to, add ? load(to, AllLanes{}) + value : value, AllLanes{});
    }
  }
}

// Products in fixed point, as InFloat does them in fp32 (cpu/winograd_arithmetic.h).
class InFixed {
 public:
  using Kept = bf16;

  // Whether pairs of channels do not straddle two maps.
  static bool fits(int maps, const Index* channels) {
    for (int i = 0; maps > 1 && i < maps; ++i) {
      if (channels[i] % kFixedPair) return false;
    }
    return true;
  }

  void input(const InputRows<bf16>* maps, int count, Index left, Index tiles, const PointLayout& layout, float* to) {
    const Index stride = stride_of(tiles, layout.pairs);
    for (Index tile = 0; tile < tiles; ++tile) {
      const Index x = left + tile * kWinoTile - 1;
      Words most{};
      for (int i = 0; i < count; ++i) most = larger_inputs(maps[i], x, most);
      largest_[tile] = largest_of(most);
      const float steps = largest_[tile] == 0 ? 0 : kFixedMost / largest_[tile];
      float factors[kWinoPoints];
      for (int p = 0; p < kWinoPoints; ++p) factors[p] = steps / kPointBounds.values[p];
      auto* pair = reinterpret_cast<std::uint32_t*>(to) + tile * layout.pairs;
      for (int i = 0; i < count; ++i) {
        for (Index c = 0; c < maps[i].channels; c += kFixedPair, pair += kLanes) {
          fixed_pair(maps[i], x, c, factors, pair, stride);
        }
      }
    }
  }

  template <class Before>
  void multiply(Index tiles, const PointLayout& layout, const float* weights, Index first, Index outputs,
                const float* in, float* out, Before before) const {
    const Index in_stride = stride_of(tiles, layout.pairs), out_stride = stride_of(tiles, outputs);
    const auto* a = reinterpret_cast<const std::int32_t*>(in);
    const auto* b = reinterpret_cast<const std::int32_t*>(weights + layout.pairs_at()) + first;
    const float* scales = weights + layout.scales_at() + first;
    for (Index p = 0; p < kWinoPoints; ++p) {
      before(p);
      for (Index group = 0; group < layout.groups; ++group) {
        const Index begin = group * kFixedGroup / 2, pairs = min_of(kFixedGroup / 2, layout.pairs - begin);
        const std::int32_t* left = a + p * in_stride + begin;
        const std::int32_t* right = b + (p * layout.pairs + begin) * layout.o_wide;
        const float* scale = scales + (p * layout.groups + group) * layout.o_wide;
        for_blocks(tiles, outputs / kLanes, [&](auto rows, Index i, auto vecs, Index j) {
          fixed_block<rows.value, vecs.value>(pairs, left + i * layout.pairs, layout.pairs, right + j * kLanes,
                                              layout.o_wide, scale + j * kLanes,
                                              out + p * out_stride + i * outputs + j * kLanes, outputs, group > 0);
        });
      }
    }
  }

  void output(const float* from, Index tile, Index stride, Values& values) const {
    output_tile(from, stride, values);
    const Vec scale = splat(largest_[tile]);
#pragma GCC unroll 4
    for (int r = 0; r < f43::kTile; ++r) {
#pragma GCC unroll 4
      for (int u = 0; u < f43::kTile; ++u) values[r][u] *= scale;
    }
  }

 private:
  // Two vectors of channels from `c` on at all points.
  static void fixed_pair(const InputRows<bf16>& rows, Index x, Index c, const float* factors, std::uint32_t* to,
                         Index stride) {
    VecU32 low[kWinoPoints];
    with_square(rows, x, c, rows.channels - c, [&](auto line) {
      transform_square<f43::kReach>(line, f43::transform_input, [&](int q, const Vec(&values)[f43::kPoints]) {
#pragma GCC unroll 6
        for (int p = 0; p < f43::kPoints; ++p) {
          const int point = p * f43::kPoints + q;
          low[point] = low_words(values[p] * factors[point] + kRoundingShift);
        }
      });
    });
    with_square(rows, x, c + kLanes, rows.channels - c - kLanes, [&](auto line) {
      transform_square<f43::kReach>(line, f43::transform_input, [&](int q, const Vec(&values)[f43::kPoints]) {
        for_each_strided<f43::kPoints>(to + q * stride, f43::kPoints * stride, [&](int p, std::uint32_t* at) {
          const int point = p * f43::kPoints + q;
          store_raw(at, low[point] | high_words(values[p] * factors[point] + kRoundingShift), AllLanes{});
        });
      });
    });
  }

  float largest_[kMostTiles];  // magnitude of a tile's inputs
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
#endif
