#pragma once

#include "cpu/gemm.h"

// Gradients of weights: sums over tiles of products of every input channel with every output channel.
namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// out[c][o] (+)= sum over the tiles of in[tile][c] * grad[tile][o], for a block of `Rows` c and `Vecs` vectors of o.
template <class Factors, int Rows, int Vecs>
inline void outer_block(Index tiles, Matrix in, Matrix grad, float* out, Index out_stride, bool onto_out) {
  Vec sums[Rows][Vecs];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) {
      sums[i][j] = onto_out ? load(out + i * out_stride + j * kLanes, AllLanes{}) : Vec{};
    }
  }
  for (Index t = 0; t < tiles; ++t) {
    Vec row[Vecs];
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) row[j] = load(grad.values + t * grad.stride + j * kLanes, AllLanes{});
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec factor = in_register(Factors::factor(in.values + t * in.stride + i));
#pragma GCC unroll 4
      for (int j = 0; j < Vecs; ++j) sums[i][j] = Factors::add(sums[i][j], factor, row[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vecs; ++j) store(out + i * out_stride + j * kLanes, sums[i][j], AllLanes{});
  }
}

template <class Factors, int Rows, int Vecs>
inline void outer_columns(Index tiles, Matrix in, Matrix grad, Index c, float* out, Index out_stride, bool onto_out) {
  for (Index row = 0; row < c; row += Rows) {
    outer_block<Factors, Rows, Vecs>(tiles, {in.values + row, in.stride}, grad, out + row * out_stride, out_stride,
                                     onto_out);
  }
}

// `c` and `o`, the widths of `in` [tiles, c], `grad` [tiles, o] and `out` [c, o], are whole multiples of 16.
template <class Factors = Fp32Factors>
inline void outer_product(Index tiles, Matrix in, Index c, Matrix grad, Index o, float* out, Index out_stride,
                          bool onto_out) {
  constexpr int kVecs = 3, kRows = kMaxVecs < 3 ? 4 : 8;  // rows: of the 16 channels in a unit of padding
  for (Index vecs = o / kLanes; vecs > 0;) {
    // Blocks of nearly equal width: one of a single vector would wait for its loads.
    const Index blocks = ceil_div(vecs, kVecs), block = ceil_div(vecs, blocks);
    switch (block) {
      case 1:
        outer_columns<Factors, kRows, 1>(tiles, in, grad, c, out, out_stride, onto_out);
        break;
      case 2:
        outer_columns<Factors, kRows, 2>(tiles, in, grad, c, out, out_stride, onto_out);
        break;
      case 3:
        outer_columns<Factors, kRows, 3>(tiles, in, grad, c, out, out_stride, onto_out);
        break;
    }
    vecs -= block;
    grad.values += block * kLanes;
    out += block * kLanes;
  }
}

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
