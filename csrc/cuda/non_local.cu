#include "cuda/non_local_bwd.cuh"

#include "common/check.h"
#include "cuda/launch.h"

namespace awsrn_fast {
namespace {

constexpr const char* kName = "non_local";

template <int Value>
using Constant = std::integral_constant<int, Value>;

// Calls `run` with the kernels' value type, architecture and D as types.
template <class Run>
void with_instance(const NonLocalShape& shape, DType dtype, int arch, Run run) {
  const auto with_d = [&](auto zero, auto instance) {
    switch (shape.d) {
      case 8:
        return run(zero, instance, Constant<8>{});
      case 16:
        return run(zero, instance, Constant<16>{});
      case 32:
        return run(zero, instance, Constant<32>{});
      case 64:
        return run(zero, instance, Constant<64>{});
      default:
        AWSRN_FAST_CHECK(false, "non_local: the CUDA kernels have D 8, 16, 32 and 64");
    }
  };
  switch (dtype) {
    case DType::float32:
      return with_d(float{}, Constant<75>{});
    case DType::bfloat16:
      return with_d(__nv_bfloat16{}, Constant<80>{});
    case DType::float16:
      return arch >= 80 ? with_d(__half{}, Constant<80>{}) : with_d(__half{}, Constant<75>{});
  }
}

void check(const NonLocalShape& s) {
  AWSRN_FAST_CHECK(s.block >= 1 && s.halo >= 0, "non_local: block must be at least 1, halo at least 0");
  const bool fits = Index(s.h) * s.w < (Index(1) << 31);
  AWSRN_FAST_CHECK(fits, "non_local: one image has 2^31 positions or more");
}

bool empty(const NonLocalShape& s) { return s.n == 0 || s.h == 0 || s.w == 0; }

Index floats_of_queries(const NonLocalShape& s) {
  return s.n * s.h * s.w * Index(sizeof(NonLocalQuery) / sizeof(float));
}

}  // namespace

Index non_local_workspace(const NonLocalShape& s) {
  check(s);
  if (empty(s)) return 0;
  const NonLocalGrid grid = non_local_grid(s);
  const Index tall = non_local_keys(s.h, s.block, s.halo, 0).length;
  const Index wide = non_local_keys(s.w, s.block, s.halo, 0).length;
  const bool parts = grid.down * grid.across > 1;
  return floats_of_queries(s) + (parts ? grid.blocks * tall * wide * 2 * s.d : 0);
}

void launch_non_local_fwd(const NonLocalFwd& a, DType dtype, const Target& target) {
  check(a.shape);
  AWSRN_FAST_CHECK(a.c % 8 == 0, "non_local: the CUDA kernels take channels by eights");
  if (empty(a.shape)) return;
  const NonLocalGrid grid = non_local_grid(a.shape);
  with_instance(a.shape, dtype, target.arch, [&](auto zero, auto arch, auto d) {
    using T = decltype(zero);
    launch(non_local_fwd_kernel<T, arch, d>, grid_of(grid.blocks * grid.query_tiles, kName), NonLocalTile::kThreads,
           kNonLocalTile<T, arch, d>.fwd_bytes, target, kName, NonLocalParams<NonLocalFwd>{a, grid});
  });
}

void launch_non_local_bwd(const NonLocalBwd& a, DType dtype, const Target& target) {
  check(a.shape);
  if (empty(a.shape)) return;
  const NonLocalGrid grid = non_local_grid(a.shape);
  const Index positions = a.shape.n * a.shape.h * a.shape.w;
  const bool parts = grid.down * grid.across > 1;
  const NonLocalWorkspace workspace{reinterpret_cast<NonLocalQuery*>(a.workspace),
                                    parts ? a.workspace + floats_of_queries(a.shape) : nullptr};
  with_instance(a.shape, dtype, target.arch, [&](auto zero, auto arch, auto d) {
    using T = decltype(zero);
    constexpr int kThreads = NonLocalTile::kThreads, kBytes = kNonLocalTile<T, arch, d>.bwd_bytes;
    const NonLocalBwdParams p{a, grid, workspace};
    const auto run = [&](auto kernel, Index blocks, int bytes) {
      launch(kernel, grid_of(blocks, kName), kThreads, bytes, target, kName, p);
    };
    run(non_local_query_kernel<T>, ceil_div(positions, kThreads / (d / kWidest<T>)), 0);
    run(non_local_bwd_kernel<T, arch, d, false>, grid.blocks * grid.query_tiles, kBytes);
    run(non_local_bwd_kernel<T, arch, d, true>, grid.blocks * grid.key_tiles, kBytes);
    if (parts) run(non_local_sum_kernel<T>, ceil_div(positions * (2 * d / 4), kThreads), 0);
  });
}

}  // namespace awsrn_fast
