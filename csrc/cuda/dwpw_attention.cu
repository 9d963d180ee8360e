#include "cuda/dwpw_attention.cuh"

#include "cuda/dwpw_attention_launch.h"

namespace awsrn_fast {

void launch_dwpw_attention_fwd(const DwpwAttentionFwd& a, DType dtype, const Target& target) {
  with_instance(a.maps, dtype, target, [&](auto zero, auto arch, auto width) {
    using T = decltype(zero);
    using Tile = DwpwAttentionFwdTile<T, width>;
    launch(dwpw_attention_fwd_kernel<T, arch, width>, grid_of(dwpw_attention_tiles<Tile>(a.maps), kDwpwAttention),
           Tile::kThreads, Tile::kSharedBytes, target, kDwpwAttention, a);
  });
}

}  // namespace awsrn_fast
