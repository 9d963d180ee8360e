#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "cuda/target.h"

// The attention inside non_local (eq. 7-10): softmax(q k^T) v over positions, everywhere or in blocks, and its gradient.
// The definition is awsrn_fast/ops/non_local/reference.py.
namespace awsrn_fast {

// Queries of block b are rows b*block .. b*block+block-1 of the map, its keys min(block+2*halo, h) rows shifted inward
// at the borders; columns likewise. One block as large as the map is global attention.
struct NonLocalShape {
  std::int64_t n;
  int h, w, d;  // d: 8, 16, 32 or 64
  int block, halo;
};

// Maps are of one dtype, dense and aligned to 16 bytes; accumulation is fp32.
struct NonLocalFwd {
  NonLocalShape shape;
  const void* qkv;  // [N, H*W, 3D]
  void* attended;   // [N, H*W, D]
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
std::int64_t non_local_workspace(const NonLocalShape& shape);

void launch_non_local_fwd(const NonLocalFwd& a, DType dtype, const Target& target);
void launch_non_local_bwd(const NonLocalBwd& a, DType dtype, const Target& target);

}  // namespace awsrn_fast
