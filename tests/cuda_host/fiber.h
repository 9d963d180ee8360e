// Fibers: a stack each, and a switch that keeps what the calling convention says must be kept.
#pragma once

#include <cstddef>

namespace cuda_host {

constexpr std::size_t kStackBytes = 256 * 1024;  // only touched pages take memory

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// Stacks of `count` fibers side by side, mapped once.
char* allocate_stacks(std::size_t count);

void start_fiber(Fiber& fiber, void (*entry)());
void switch_fiber(Fiber& from, Fiber& to);
// To be called first in a fiber that has just been entered.
void finish_switch(Fiber& fiber);

}  // namespace cuda_host
