// What the calls of all ops share: checks of what comes from Python, and workspaces. For sources that are compiled
// once; never for those that are compiled for several instruction sets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>

#include "common/check.h"
#include "common/dtype.h"
#include "common/index.h"
#include "common/tiles.h"
#include "dispatch.h"

namespace awsrn_fast {

// Whether buffers start as NaN, so that tests see what is read before it was written.
inline bool poisoned = false;

// Uninitialised floats, aligned to a cache line: rows of vectors then never straddle two.
class Buffer {
 public:
  explicit Buffer(Index count) : floats_(new float[count + kLine]) {
    if (poisoned) std::fill_n(floats_.get(), count + kLine, std::numeric_limits<float>::quiet_NaN());
  }
  float* data() const {
    const auto address = reinterpret_cast<std::uintptr_t>(floats_.get());
    return floats_.get() + (kLine * sizeof(float) - address % (kLine * sizeof(float))) / sizeof(float);
  }

 private:
  static constexpr Index kLine = 16;
  std::unique_ptr<float[]> floats_;
};

// Zeros instead.
class Zeros : public Buffer {
 public:
  explicit Zeros(Index count) : Buffer(count) { std::fill_n(data(), count, 0.0f); }
};

// Weight gradients are summed up in at most so many parts, whatever the threads: results keep their bits.
constexpr Index kSlots = 8;

// A bias with zeros up to whole vectors; null: zeros.
inline Zeros padded_bias(const float* bias, Index size, Index wide) {
  Zeros buffer(wide);
  if (bias) std::copy_n(bias, size, buffer.data());
  return buffer;
}

inline void check_call(const char* op, std::initializer_list<Index> sizes, DType dtype, int threads) {
  AWSRN_FAST_CHECK(std::min(sizes) >= 0, std::string(op) + ": a size is negative");
  AWSRN_FAST_CHECK(dtype == DType::float32 || dtype == DType::bfloat16, std::string(op) + ": unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, std::string(op) + ": threads must be at least 1");
}

}  // namespace awsrn_fast
