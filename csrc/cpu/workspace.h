#pragma once

#include "common/index.h"
#include "cpu/isa.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

// Hands out pieces of a workspace, or, where there is none yet, counts what they come to.
struct Workspace {
  float* base;
  Index used = 0;

  float* take(Index count) {
    float* piece = base ? base + used : nullptr;
    used += round_up(count, 16);  // pieces start at whole cache lines
    return piece;
  }
};

}  // namespace
}  // namespace awsrn_fast::AWSRN_FAST_ISA
