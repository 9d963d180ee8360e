// The instances of the convolution, each in a .cu of its own: they take the compiler the longest.
#pragma once

#include <type_traits>

#include "cuda/conv.cuh"
#include "cuda/launch.h"

namespace awsrn_fast {

// Calls `run` with the outputs' tiles and the taps as types.
template <class Run>
void with_conv_shape(const ConvParams& p, Run run) {
  const auto with_taps = [&](auto tiles) {
    if (p.a.k == 1)
      run(tiles, std::integral_constant<int, 1>{});
    else
      run(tiles, std::integral_constant<int, 3>{});
  };
  if (conv_tiles(p.maps.outputs) == 2)
    with_taps(std::integral_constant<int, 2>{});
  else
    with_taps(std::integral_constant<int, 4>{});
}

ConvParams conv_params(const Conv& a, DType dtype);

// The means, from the blocks' sums in the workspace.
void launch_conv_mean(const ConvParams& p, DType dtype, const Target& target);

template <class T, int Arch>
void launch_conv_instance(const ConvParams& p, const Target& target) {
  const Index blocks = p.maps.n * p.parts * p.grid.outputs;
  with_conv_shape(p, [&](auto tiles, auto taps) {
    launch(conv_kernel<T, Arch, tiles, taps>, grid_of(blocks, p.a.op), AwmsTile::kThreads,
           kConvSharedBytes<tiles, taps>, target, p.a.op, p);
  });
}

extern template void launch_conv_instance<float, 75>(const ConvParams&, const Target&);
extern template void launch_conv_instance<__half, 75>(const ConvParams&, const Target&);
extern template void launch_conv_instance<__half, 80>(const ConvParams&, const Target&);
extern template void launch_conv_instance<__nv_bfloat16, 80>(const ConvParams&, const Target&);

}  // namespace awsrn_fast
