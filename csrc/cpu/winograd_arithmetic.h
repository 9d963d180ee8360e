#pragma once

#include "cpu/winograd_fixed.h"

// What the products of 3x3 convolutions are computed in: fp32, or for bf16 maps fixed point where there is VNNI.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

class InFloat {
 public:
  using Kept = float;  // values between two convolutions

  static bool fits(int, const std::int64_t*) { return true; }

  // Inputs of `tiles` tiles, the first of whose outputs start at column `left`, of maps whose channels follow each
  // other -> points. Of several maps, each has whole vectors of channels.
  template <class T>
  void input(const InputRows<T>* maps, int count, std::int64_t left, std::int64_t tiles, const PointLayout& layout,
             float* to) {
    const std::int64_t stride = stride_of(tiles, layout.c_wide);
    for (int i = 0; i < count; ++i) {
      const std::int64_t channels = count > 1 ? maps[i].channels : layout.c_wide;
      input_points(maps[i], left, tiles, channels, layout.c_wide, to, stride);
      to += channels;
    }
  }

  // Products at every point with the weights of `outputs` channels (whole vectors) from `first` on -> out,
  // [36][tiles][outputs]; soon(point) is called before each.
  template <class Ask>
  void multiply(std::int64_t tiles, const PointLayout& layout, const float* weights, std::int64_t first,
                std::int64_t outputs, const float* in, float* out, Ask soon) const {
    const std::int64_t in_stride = stride_of(tiles, layout.c_wide), out_stride = stride_of(tiles, outputs);
    for (std::int64_t p = 0; p < kWinoPoints; ++p) {
      soon(p);
      gemm(tiles, outputs / kLanes, layout.c, Matrix{in + p * in_stride, layout.c_wide},
           Matrix{weights + p * layout.c_wide * layout.o_wide + first, layout.o_wide}, out + p * out_stride, outputs,
           Onto{nullptr, false});
    }
  }

  // Sums of products of tile `tile`, `stride` apart -> its outputs.
  void output(const float* from, std::int64_t, std::int64_t stride, Values& values) const {
    output_tile(from, stride, values);
  }
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
