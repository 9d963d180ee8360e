#pragma once

#include "common/dtype.h"
#include "common/index.h"

// Reconstruction: a 9x9 convolution by nested Winograd (smaller kernels are padded with zeros), PixelShuffle, skip,
// denormalisation and clamp. The definition is awsrn_fast/ops/awms/reference.py.
namespace awsrn_fast {

constexpr Index kAwmsTaps = 9, kAwmsTile = 12, kAwmsPoints = 30;  // cpu/nested_winograd.h
constexpr Index kAwmsVector = 16;                                 // rows of channels are padded to multiples
constexpr Index kAwmsChunk = 8;                                   // tiles of a product

// Maps are cut into segments, runs of tiles side by side, and these into groups whose transforms stay in the caches.
struct AwmsCut {
  Index across, tiles, down;          // segments in a row of tiles, tiles a segment, rows of tiles
  Index segments, group;              // all of them, and those of a group
  Index columns;                      // of a segment with its margins
  Index c, o;                         // channels, padded
  Index input_stride, output_stride;  // floats from one point's values to the next one's
};

struct AwmsShape {
  static constexpr int kArguments = 7;
  Index n, c, o, h, w;
  DType dtype;  // of the maps, which are [N, H, W, channels]; everything else is fp32
  int threads;
  AwmsCut cut;  // cpu/awms_cut.h
};

struct AwmsWeights {
  static constexpr int kArguments = 6;
  const float* weight;  // [K, K, C, O], K odd and at most 9
  Index k;
  float* points;  // [30, 30, wide C, wide O]
  Index c, o;
  int threads;
  Index c_wide, o_wide;
};

// Where an output value goes: position (y, x), channel o at offset[o] + y * row + x * column of image `image`.
struct AwmsOutput {
  void* y;
  const Index* offset;  // [O]; null: y is [N, H, W, O]
  Index image, row, column;
  const float* shift;  // [O], or null for 0: y = scale * (convolution + skip) + shift
  const void* skip;    // [N, H, W, O], or null for 0
  float scale;
  bool clamp;
  bool levels;  // with offset: y is 8-bit, 255 times the value in [0, 1], rounded to nearest even
};

struct AwmsConv {
  AwmsShape shape;
  const void* x;        // [N, H, W, C]
  const float* points;  // [30, 30, wide C, wide O]
  AwmsOutput out;
  float* scratch;
};

struct AwmsGradWeight {
  static constexpr int kArguments = 5;
  AwmsShape shape;
  const void* x;         // [N, H, W, C]
  const void* grad;      // [N, H, W, O], of the convolution's output
  float* grad_weight;    // [9, 9, C, O]
  float* grad_bias;      // [O]
  float* scratch;
};

}  // namespace awsrn_fast
