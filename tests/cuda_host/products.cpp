// ldmatrix and mma with the fragment layouts of the PTX ISA (sections "mma.m16n8k8", "mma.m16n8k16", "ldmatrix").
// Products are exact and added in fp32, one after the other; the hardware's own rounding is not specified.
#include "host.h"

namespace cuda_host {
namespace {

constexpr int kRows = 8, kRowBytes = 16;

const MatrixRows& rows_of(const Lane& lane) { return *reinterpret_cast<const MatrixRows*>(lane.in); }

const Product& product_of(const Lane& lane) { return *reinterpret_cast<const Product*>(lane.in); }

float element(std::uint32_t word, int index, float (*value)(std::uint16_t)) {
  return value(std::uint16_t(word >> 16 * index));
}

// A[row][k]: registers hold rows 0-7 and 8-15 of k 0-7, then of k 8-15; four lanes share a row.
float a_element(const Lane* lanes, int row, int k) {
  const Product& owner = product_of(lanes[row % 8 * 4 + k % 8 / 2]);
  return element(owner.a[row / 8 + 2 * (k / 8)], k % 2, owner.value);
}

float b_element(const Lane* lanes, int k, int column) {
  const Product& owner = product_of(lanes[column * 4 + k % 8 / 2]);
  return element(owner.b[k / 8], k % 2, owner.value);
}

}  // namespace

void ldmatrix_finish(Lane* lanes) {
  const MatrixRows& first = rows_of(lanes[0]);
  const void* rows[32];
  for (int l = 0; l < kRows * first.matrices; ++l) {
    rows[l] = rows_of(lanes[l]).row;
    if (reinterpret_cast<std::uintptr_t>(rows[l]) % kRowBytes) fail("ldmatrix: a row's address is no multiple of 16");
    const unsigned char* offset = static_cast<const unsigned char*>(rows[l]);
    if (offset < dynamic_shared_memory() || offset + kRowBytes > dynamic_shared_memory() + dynamic_shared_bytes())
      fail("ldmatrix: a row lies outside of shared memory");
  }
  if (observer) observer->ldmatrix(lanes[0].thread, rows, first.matrices, first.transposed, first.place);
  for (int l = 0; l < warpSize; ++l) {
    const MatrixRows& mine = rows_of(lanes[l]);
    if (mine.matrices != first.matrices || mine.transposed != first.transposed)
      fail("the lanes of a warp execute different forms of ldmatrix");
    for (int m = 0; m < mine.matrices; ++m) {
      std::uint16_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const int row = mine.transposed ? l % 4 * 2 + i : l / 4;
        const int column = mine.transposed ? l / 4 : l % 4 * 2 + i;
        std::memcpy(&pair[i], static_cast<const char*>(rows[m * kRows + row]) + 2 * column, 2);
      }
      mine.words[m] = std::uint32_t(pair[1]) << 16 | pair[0];
    }
  }
}

void mma_finish(Lane* lanes) {
  const int depth = product_of(lanes[0]).depth;
  for (int l = 0; l < warpSize; ++l) {
    const Product& mine = product_of(lanes[l]);
    if (mine.depth != depth || mine.value != product_of(lanes[0]).value)
      fail("the lanes of a warp execute different forms of mma");
    for (int i = 0; i < 4; ++i) {
      float sum = mine.d[i];
      for (int k = 0; k < depth; ++k)
        sum += a_element(lanes, l / 4 + i / 2 * 8, k) * b_element(lanes, k, l % 4 * 2 + i % 2);
      mine.d[i] = sum;
    }
  }
}

}  // namespace cuda_host
