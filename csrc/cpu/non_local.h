#pragma once

#include "common/dtype.h"
#include "common/index.h"

// The core of non_local: softmax(q k^T) v over the positions of a map, everywhere or in blocks (eq. 7-9).
// The definition is awsrn_fast/ops/non_local/reference.py. Arithmetic is fp32, but with AVX512-BF16 the factors of
// products in bf16 stay bf16.
namespace awsrn_fast {

struct NonLocalShape {
  static constexpr int kArguments = 8;
  Index n, h, w, d;
  // The queries of one block attend to the rows and columns of it and `halo` more on each side, shifted inward at
  // the borders. A block as large as the map is global attention.
  Index block, halo;
  DType dtype;           // of what has D channels
  int threads;
  Index scratch;  // floats of a thread's workspace
  Index groups;   // parts that each block's keys are cut into in the backward pass, of the shape alone
  Index rows;     // of a tile of queries in the backward pass
  Index wide;     // d in whole vectors of the widest kind
};

struct NonLocalFwd {
  static constexpr int kArguments = 4;
  NonLocalShape shape;
  const void* qkv;  // [N, HW, 3D]: query, key, value
  void* attended;   // [N, HW, D]
  float* softmax;   // [N, HW, 2], each query's r, a number near its largest score, and 1 / sum of exp(score - r)
  float* scratch;   // workspace [threads, shape.scratch]
};

struct NonLocalBwd {
  static constexpr int kArguments = 6;
  NonLocalShape shape;
  const void* grad;        // [N, HW, D], of `attended`
  const void* qkv;         // [N, HW, 3D]
  const void* attended;    // [N, HW, D]
  const float* softmax;    // [N, HW, 2]
  void* grad_qkv;          // [N, HW, 3D]
  float* queries;          // workspace [N * blocks, tiles of queries, shape.rows, 2 * shape.wide]: operands
  float* statistics;       // workspace [N * blocks, tiles of queries, shape.rows, kNonLocalStatistics]
  float* partial_keys;     // workspace [N * blocks, keys of a block, 2D]
  float* partial_queries;  // workspace [N * blocks, groups, queries of a block, D rounded up to whole vectors]
  float* scratch;          // workspace [threads, shape.scratch]
};

// Positions that lie in vector lanes at a time, and those that are taken one by one. A tile of scores is the product
// of both; two of them and their operands stay in a 48 KB L1 at the network's 16 channels. Tiles of queries in the
// backward pass may have more in bf16, where they are half as large.
constexpr Index kNonLocalTile = 64;
constexpr Index kNonLocalRows = 32;
constexpr Index kNonLocalRowsOfBf16 = 64;
constexpr Index kNonLocalStatistics = 3;  // of a query in the backward pass
constexpr Index kNonLocalRowsAtOnce = 4;  // tiles have a multiple of them
constexpr Index kNonLocalVector = 16;     // floats of the widest vector

}  // namespace awsrn_fast
