#pragma once

#include "common/dtype.h"
#include "common/index.h"
#include "cuda/target.h"

// non_local (eq. 7-10) behind its projections to queries, keys and values: softmax(q k^T) v over positions, everywhere
// or in blocks, its projection and the residual, and the attention's gradient. The definition is
// awsrn_fast/ops/non_local/reference.py.
//
// Output projection and residual are the forward kernel's epilogue: by themselves they would read and write 2 D + 2 C
// values a position more, 192 bytes in half precision at the network's C = 32, D = 16, and be two launches. The
// projections before it are one product of PyTorch's, C values in and 3 D out, each once. Inside the kernel they would
// come again with every 64 queries: 4 C D / 64 FLOP for each pair of query and key, where the attention itself has 4 D.
// That is half as much work again at C = 32, against 12 D bytes a position; so they stay outside.
namespace awsrn_fast {

// Queries of block b are rows b*block .. b*block+block-1 of the map, its keys min(block+2*halo, h) rows shifted inward
// at the borders; columns likewise. One block as large as the map is global attention.
struct NonLocalShape {
  Index n;
  int h, w, d;  // d: 8, 16, 32 or 64
  int block, halo;
};

// Maps are of one dtype, dense and aligned to 16 bytes; accumulation is fp32.
struct NonLocalFwd {
  NonLocalShape shape;
  const void* qkv;  // [N, H*W, 3D]
  Index c;   // a multiple of 8
  const void* x;    // [N, H*W, C]
  const void* w_z;  // [C, D]
  const void* b_z;  // [C]
  void* y;          // [N, H*W, C] = x + w_z attended + b_z
  void* attended;   // [N, H*W, D]; null, with softmax: not wanted
  float* softmax;   // [N, H*W, 2], each query's largest score and 1 / sum of exp(score - largest)
};

struct NonLocalBwd {
  NonLocalShape shape;
  const void* grad;      // [N, H*W, D], of attended
  const void* qkv;       // as forward's
  const void* attended;
  const float* softmax;
  void* grad_qkv;        // [N, H*W, 3D]
  float* workspace;      // as many floats as non_local_workspace() says, aligned to 16 bytes
};

// Floats that backward needs: four a query, and with several blocks each block's part of its keys' gradients.
Index non_local_workspace(const NonLocalShape& shape);

void launch_non_local_fwd(const NonLocalFwd& a, DType dtype, const Target& target);
void launch_non_local_bwd(const NonLocalBwd& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
