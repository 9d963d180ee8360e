#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error "the harness switches fibers in x86-64 assembly; add the registers that this machine's calls must keep"
#endif

extern "C" void cuda_host_switch(void** save, void* to);
asm(R"(
.text
.hidden cuda_host_switch
.globl cuda_host_switch
.type cuda_host_switch, @function
cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_host_switch, .-cuda_host_switch
)");

namespace cuda_host {

char* allocate_stacks(std::size_t count) {
  static char* const stacks = [count] {
    void* memory =
        mmap(nullptr, count * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<char*>(memory);
  }();
  return stacks;
}

void start_fiber(Fiber& fiber, void (*entry)()) {
  constexpr int kSavedRegisters = 6;
  void** top = reinterpret_cast<void**>(fiber.stack + kStackBytes - 64);
  *--top = nullptr;  // where entry would return to; keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
  fiber.fake_stack = nullptr;
}

#if defined(__SANITIZE_ADDRESS__)

namespace {
const void* scheduler_stack = nullptr;
std::size_t scheduler_bytes = 0;
}  // namespace

void finish_switch(Fiber& fiber) {
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler_stack, &scheduler_bytes);
}

void switch_fiber(Fiber& from, Fiber& to) {
  const void* stack = to.stack ? to.stack : scheduler_stack;
  __sanitizer_start_switch_fiber(&from.fake_stack, stack, to.stack ? kStackBytes : scheduler_bytes);
  cuda_host_switch(&from.stack_pointer, to.stack_pointer);
  if (from.stack) {
    finish_switch(from);
  } else {
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
  }
}

#else

void switch_fiber(Fiber& from, Fiber& to) { cuda_host_switch(&from.stack_pointer, to.stack_pointer); }
void finish_switch(Fiber&) {}

#endif

}  // namespace cuda_host
