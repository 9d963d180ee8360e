#include "cuda/wide_residual.cuh"

#include "cuda/conv_launch.h"

namespace awsrn_fast {
namespace {

template <class T, int Arch>
void launch_instance(const WideResidualParams& p, const Target& target) {
  launch(wide_residual_fwd_kernel<T, Arch>, grid_of(p.second.maps.n * p.second.parts, p.second.a.op),
         WideResidualTile::kThreads, WideResidualTile::kSharedBytes, target, p.second.a.op, p);
}

}  // namespace

Index wide_residual_workspace(Index n, Index h, Index w) {
  return n * ceil_div(h, WideResidualTile::kDown) * ceil_div(w, WideResidualTile::kAcross) * kWideResidualChannels;
}

void launch_wide_residual_fwd(const WideResidual& a, DType dtype, const Target& target) {
  WideResidualParams p{conv_params(a.second, dtype), a.w1, a.b1, int(ceil_div(a.second.h, WideResidualTile::kDown)),
                       int(ceil_div(a.second.w, WideResidualTile::kAcross))};
  p.second.parts = Index(p.down) * p.across;
  if (dtype == DType::bfloat16)
    launch_instance<__nv_bfloat16, 80>(p, target);
  else if (target.arch < 80)
    launch_instance<__half, 75>(p, target);
  else
    launch_instance<__half, 80>(p, target);
  if (a.second.mean) launch_conv_mean(p.second, dtype, target);
}

}  // namespace awsrn_fast
