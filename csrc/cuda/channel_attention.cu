#include "cuda/channel_attention.cuh"

#include <algorithm>

#include "cuda/launch.h"

namespace awsrn_fast {
namespace {

constexpr const char* kName = "channel_attention";
constexpr int kThreads = ChannelAttentionTile::kThreads;

template <class T>
void fwd(const ChannelAttentionFwd& a, const Target& target) {
  if (channel_attention_by_warps(a.sizes)) {
    // Enough blocks for any GPU; each then takes several images, whose weights come from its L1 cache.
    const Index blocks = std::min<Index>(ceil_div(a.sizes.n, ChannelAttentionTile::kWarps), 1024);
    return launch(channel_attention_fwd_many_kernel<T>, grid_of(blocks, kName), kThreads,
                  ChannelAttentionTile::kWarps * a.sizes.r * sizeof(float), target, kName, a);
  }
  launch(channel_attention_fwd_kernel<T>, grid_of(a.sizes.n, kName), kThreads, 0, target, kName, a);
}

template <class T>
void bwd(const ChannelAttentionBwd& a, const Target& target) {
  launch(channel_attention_bwd_kernel<T>, grid_of(a.sizes.n, kName), kThreads, kThreads * sizeof(float), target, kName,
         a);
  if (!a.grad_w1 && !a.grad_b1 && !a.grad_w2 && !a.grad_b2) return;
  const Index elements = std::max({a.sizes.c * a.sizes.r, a.sizes.c, a.sizes.r});
  launch(channel_attention_bwd_sum_kernel<T>, grid_of(ceil_div(elements, kThreads), kName), kThreads, 0, target, kName,
         a);
}

}  // namespace

void launch_channel_attention_fwd(const ChannelAttentionFwd& a, DType dtype, const Target& target) {
  with_dtype(dtype, [&](auto zero) { fwd<decltype(zero)>(a, target); });
}

void launch_channel_attention_bwd(const ChannelAttentionBwd& a, DType dtype, const Target& target) {
  with_dtype(dtype, [&](auto zero) { bwd<decltype(zero)>(a, target); });
}

}  // namespace awsrn_fast
