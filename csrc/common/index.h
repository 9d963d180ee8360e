#pragma once

#include <cstdint>

namespace awsrn_fast {

// Sizes, strides and positions.
using Index = std::int64_t;

// Inlined everywhere: no copy that was compiled for one instruction set may serve another one (cpu/isa.h).
[[gnu::always_inline]] constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
[[gnu::always_inline]] constexpr Index round_up(Index value, Index multiple) {
  return ceil_div(value, multiple) * multiple;
}

}  // namespace awsrn_fast
