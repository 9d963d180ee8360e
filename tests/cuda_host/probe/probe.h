// Kernels that test the harness itself: its arithmetic, and faults that it must find.
#pragma once

#include <cstdint>

namespace probe {

enum class Fault {
  none,
  missing_barrier,
  missing_syncwarp,
  beyond_shared,
  below_one,
  lane_not_in_mask,
  lane_outside_mask,
  exited_lane,
  two_barriers,
  two_barriers_on_a_line,
  deadlock,
  blocks_meet,
  unaligned_matrix,
  early_matrix,
};

// y[i] = the sum of the 64 values of x's row i; one block a row.
struct RowSums {
  const float* x;
  float* y;
  Fault fault;
};

// d[16, 8] = a[16, depth] b, with b [depth, 8], or b^T [8, depth]; 16-bit values of a and b.
struct Product {
  const void *a, *b;
  float* d;
  int depth;
  bool b_transposed, bfloat16;
  Fault fault;
};

struct Shuffles {
  const int* x;  // [32]
  int* y;        // [4, 32]: down by 3, up by 3, xor 5 in groups of 8, lane 7
  int width;
};

struct Rounding {
  const float* x;
  std::uint16_t *half, *bfloat16;
  float *from_half, *from_bfloat16;
  int count;
};

void row_sums(const RowSums& p, int rows, int threads, std::int64_t shared_bytes);
void product(const Product& p);
void shuffles(const Shuffles& p);
void rounding(const Rounding& p);

}  // namespace probe
