#include "cuda/conv.h"

#include "cuda/conv_launch.h"

namespace awsrn_fast {
namespace {

AwmsMaps maps_of(const Conv& a) {
  Index inputs = 0;
  for (int map = 0; map < a.count; ++map) inputs += a.inputs[map].channels;
  return {a.n, a.h, a.w, inputs, a.outputs, a.k};
}

}  // namespace

ConvParams conv_params(const Conv& a, DType dtype) {
  const Index bytes = dtype == DType::float32 ? 4 : 2, chunk = AwmsTile::kChunkBytes / bytes;
  ConvParams p{};
  p.a = a;
  p.maps = maps_of(a);
  p.grid = conv_grid(p.maps);
  p.parts = p.grid.down * p.grid.across;
  p.side = AwmsDivisor(AwmsTile::kSide + a.k - 1);
  for (int map = 0; map < a.count; ++map) p.chunks[map] = int(ceil_div(a.inputs[map].channels, chunk));
  p.whole = a.outputs * bytes % 16 == 0;
  for (const void* map : {a.mask, static_cast<const void*>(a.plain), a.residual, static_cast<const void*>(a.y)})
    p.whole = p.whole && reinterpret_cast<std::uintptr_t>(map) % 16 == 0;
  return p;
}

Index conv_workspace(Index n, Index h, Index w, Index outputs) {
  const AwmsGrid grid = conv_grid({n, h, w, 0, outputs, 3});
  return n * grid.down * grid.across * outputs;
}

void launch_conv(const Conv& a, DType dtype, const Target& target) {
  const ConvParams p = conv_params(a, dtype);
  if (a.mean) check_workspace(a.n * p.parts * a.outputs, conv_workspace(a.n, a.h, a.w, a.outputs), a.op);
  switch (dtype) {
    case DType::float32:
      launch_conv_instance<float, 75>(p, target);
      break;
    case DType::bfloat16:
      launch_conv_instance<__nv_bfloat16, 80>(p, target);
      break;
    case DType::float16:
      if (target.arch < 80)
        launch_conv_instance<__half, 75>(p, target);
      else
        launch_conv_instance<__half, 80>(p, target);
  }
  if (a.mean) launch_conv_mean(p, dtype, target);
}

void launch_conv_mean(const ConvParams& p, DType dtype, const Target& target) {
  with_dtype(dtype, [&](auto zero) {
    launch(conv_mean_kernel<decltype(zero)>, grid_of(p.maps.n * ceil_div(p.maps.outputs, 32), p.a.op),
           ConvMeanTile::kThreads, ConvMeanTile::kThreads * sizeof(float), target, p.a.op, p);
  });
}

}  // namespace awsrn_fast
