#pragma once

#include "cpu/outer_product.h"
#include "cpu/winograd_tiles.h"

// Weight gradients of 3x3 convolutions: outer products at 36 points, summed over tiles, then taken back to 9 taps.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// sums [36][c][stride], `point_stride` apart, += in by grad, points of tiles of c and o channels.
inline void add_products(Index tiles, Index c, const float* in, Index o, const float* grad, float* sums, Index stride,
                         Index point_stride) {
  for (Index p = 0; p < kWinoPoints; ++p) {
    outer_product(tiles, {in + p * stride_of(tiles, c), c}, c, {grad + p * stride_of(tiles, o), o}, o,
                  sums + p * point_stride, stride, true);
  }
}

// sums [channels, whole vectors] += the rows' values from column `begin` up to `end`.
template <class T>
inline void add_sums(const TileRows<T>& rows, Index begin, Index end, float* sums) {
  end = end < rows.end ? end : rows.end;
  for (Index c = 0; c < rows.channels; c += kLanes) {
    const SomeLanes lanes{int(rows.channels - c < kLanes ? rows.channels - c : kLanes)};
    Vec total{};
    for (int r = 0; r < f43::kTile; ++r) {
      if (!rows.row[r]) continue;
      for (Index x = begin; x < end; ++x) {
        const T* value = rows.row[r] + (x - rows.begin) * rows.column + c;
        total += lanes.count == kLanes ? load(value, AllLanes{}) : load(value, lanes);
      }
    }
    store(sums + c, load(sums + c, AllLanes{}) + total, AllLanes{});
  }
}

// The first of the slots [slots][size] becomes the sum of all.
inline void add_slots(float* partial, Index slots, Index size, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (Index i = 0; i < size; i += kLanes) {
    Vec total = load(partial + i, AllLanes{});
    for (Index slot = 1; slot < slots; ++slot) total += load(partial + slot * size + i, AllLanes{});
    store(partial + i, total, AllLanes{});
  }
}

// The taps' gradients [3, 3, C, O] from the points' [36][c_wide][o_wide]: the transpose of launch_conv3x3_prepare().
inline void collect_taps(const float* points, Index channels, Index c_wide, Index outputs, Index o_wide, float* taps,
                         int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (Index c = 0; c < channels; ++c) {
    for (Index o = 0; o < outputs; o += kLanes) {
      const SomeLanes lanes{int(outputs - o < kLanes ? outputs - o : kLanes)};
      Vec rows[f43::kTaps][f43::kPoints] = {};
      for (int p = 0; p < f43::kPoints; ++p) {
        for (int q = 0; q < f43::kPoints; ++q) {
          const Vec value = load(points + ((p * f43::kPoints + q) * c_wide + c) * o_wide + o, AllLanes{});
          for (int k = 0; k < f43::kTaps; ++k) rows[k][q] += f43::kWeights.values[p][k] * value;
        }
      }
      for (int k = 0; k < f43::kTaps; ++k) {
        for (int l = 0; l < f43::kTaps; ++l) {
          Vec tap{};
          for (int q = 0; q < f43::kPoints; ++q) tap += f43::kWeights.values[q][l] * rows[k][q];
          store(taps + ((k * f43::kTaps + l) * channels + c) * outputs + o, tap, lanes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
