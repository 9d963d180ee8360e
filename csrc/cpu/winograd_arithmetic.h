#pragma once

#include "cpu/winograd_fixed.h"

// What the products of 3x3 convolutions are computed in: fp32, or for bf16 maps fixed point where there is VNNI.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

class InFloat {
 public:
  using Kept = float;  // values between two convolutions

  static bool fits(int, const Index*) { return true; }

  // Inputs of `tiles` tiles, the first of whose outputs start at column `left`, of maps whose channels follow each
  // other -> points. With several maps, each has whole vectors of channels.
  template <class T>
  void input(const InputRows<T>* maps, int count, Index left, Index tiles, const PointLayout& layout, float* to) {
    const Index stride = stride_of(tiles, layout.c_wide);
    for (int i = 0; i < count; ++i) {
      const Index channels = count > 1 ? maps[i].channels : layout.c_wide;
      input_points(maps[i], left, tiles, channels, layout.c_wide, to, stride);
      to += channels;
    }
  }

  // Products at every point with the weights of `outputs` channels (whole vectors) from `first` on -> out,
  // [36][tiles][outputs]; before(point) is called ahead of each.
  template <class Before>
  void multiply(Index tiles, const PointLayout& layout, const float* weights, Index first, Index outputs,
                const float* in, float* out, Before before) const {
    const Index in_stride = stride_of(tiles, layout.c_wide), out_stride = stride_of(tiles, outputs);
    for (Index p = 0; p < kWinoPoints; ++p) {
      before(p);
      gemm(tiles, outputs / kLanes, layout.c, Matrix{in + p * in_stride, layout.c_wide},
           Matrix{weights + p * layout.c_wide * layout.o_wide + first, layout.o_wide}, out + p * out_stride, outputs,
           Onto{nullptr, false});
    }
  }

  // Sums of products of tile `tile`, `stride` apart -> its outputs.
  void output(const float* from, Index, Index stride, Values& values) const { output_tile(from, stride, values); }
};

template <class T>
struct ArithmeticOf {
  using Type = InFloat;
};
#if defined(__AVX512VNNI__)
template <>
struct ArithmeticOf<bf16> {
  using Type = InFixed;
};
#endif

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
