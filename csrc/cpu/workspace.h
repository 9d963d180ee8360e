#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// Hands out pieces of a workspace, or, where there is none yet, counts what they come to.
struct Workspace {
  float* base;
  std::int64_t used = 0;

  float* take(std::int64_t count) {
    float* piece = base ? base + used : nullptr;
    used += (count + 15) / 16 * 16;  // pieces start at whole cache lines
    return piece;
  }
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
