// The runtime behind g++'s -fsanitize=thread instrumentation of the kernels (libtsan is not linked): a happens-before
// check of every byte of shared and global memory, and counts of sectors and bank conflicts.
//
// Two accesses of one byte, one of them a write, race unless the same thread makes both, or a __syncthreads lies
// between, or __syncwarp orders them within a warp (vector clocks). Threads of different blocks are never ordered.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "accesses.h"
#include "block.h"

namespace cuda_host {
namespace {

constexpr int kMaxThreads = 1024, kWarp = 32;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kMostReported = 5;

struct Event {
  std::int64_t block;
  int thread;
  std::uint32_t epoch, clock;
  bool write;
  const void* place;
};

// Of one byte: the last write, and the last reads of two threads, of different warps if there are such. Indices + 1.
struct Cell {
  std::uint32_t write = 0, read = 0, other_read = 0;
};

struct Page {
  Cell cells[kPage];
};

std::vector<Event> events;
std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages;
std::unordered_map<const void*, std::uint32_t> made[kMaxThreads][2];  // this epoch's events of a thread by place
std::uint32_t clocks[kMaxThreads][kWarp];
std::uint32_t epoch = 0;
std::int64_t block_index = 0;
int running = -1;

const char* shared_begin = nullptr;
std::vector<std::pair<const char*, const char*>> private_ranges;  // stacks, parameters, threadIdx and the like
std::size_t shared_bytes = 0;
std::set<std::pair<const void*, const void*>> reported;
std::vector<std::string> findings;

std::uint32_t event_of(int thread, bool write, const void* place) {
  std::uint32_t& index = made[thread][write][place];
  if (index == 0) {
    events.push_back({block_index, thread, epoch, clocks[thread][thread % kWarp], write, place});
    index = std::uint32_t(events.size());
  }
  return index;
}

void forget_events_of(int thread) {
  made[thread][0].clear();
  made[thread][1].clear();
}

bool before(const Event& e, int thread) {
  if (e.block != block_index) return false;
  if (e.thread == thread || e.epoch != epoch) return true;
  return e.thread / kWarp == thread / kWarp && clocks[thread][e.thread % kWarp] >= e.clock;
}

std::string describe(const Event& e) {
  return std::string(e.write ? "write" : "read") + " by thread " + std::to_string(e.thread) + " of block " +
         std::to_string(e.block) + " at " + source_line(e.place);
}

void check(std::uint32_t earlier, std::uint32_t now, bool shared) {
  if (earlier == 0) return;
  const Event& first = events[earlier - 1];
  const Event& second = events[now - 1];
  if (before(first, second.thread)) return;
  if (!reported.insert({first.place, second.place}).second || findings.size() >= kMostReported) return;
  findings.push_back(std::string("race in ") + (shared ? "shared" : "global") + " memory: " + describe(first) + ", " +
                     describe(second));
}

Cell& cell_of(std::uintptr_t address) {
  std::unique_ptr<Page>& page = pages[address / kPage];
  if (!page) page = std::make_unique<Page>();
  return page->cells[address % kPage];
}

void touch(Cell& cell, std::uint32_t now, bool shared) {
  const Event& me = events[now - 1];
  check(cell.write, now, shared);
  if (me.write) {
    check(cell.read, now, shared);
    check(cell.other_read, now, shared);
    cell = {now, 0, 0};
    return;
  }
  if (cell.read == now || cell.other_read == now) return;
  const auto same_warp = [&](std::uint32_t read) {
    const Event& e = events[read - 1];
    return e.block == me.block && e.thread / kWarp == me.thread / kWarp;
  };
  // A read that this one follows need not be kept: who comes after this one comes after both.
  if (cell.read == 0 || before(events[cell.read - 1], me.thread)) {
    cell.read = now;
  } else if (cell.other_read == 0 || before(events[cell.other_read - 1], me.thread) || !same_warp(cell.read)) {
    cell.other_read = now;
  }
}

bool within(const char* p, const char* begin, const char* end) { return p >= begin && p < end; }

void access(int thread, const void* address, std::size_t bytes, bool write, const void* place, bool matrix) {
  const char* p = static_cast<const char*>(address);
  for (const auto& range : private_ranges)
    if (within(p, range.first, range.second)) return;
  const bool shared = within(p, shared_begin, shared_begin + kSharedWindow);
  if (shared && p + bytes > shared_begin + shared_bytes) {
    if (reported.insert({place, nullptr}).second && findings.size() < kMostReported)
      findings.push_back("thread " + std::to_string(thread) + " of block " + std::to_string(block_index) +
                         " reaches beyond the end of shared memory at " + source_line(place));
    return;
  }
  const std::uint32_t now = event_of(thread, write, place);
  for (std::size_t i = 0; i < bytes; ++i) touch(cell_of(reinterpret_cast<std::uintptr_t>(p) + i), now, shared);
  if (!matrix) count_access(thread, address, bytes, write, shared, place);
}

void on_launch(const Launch& launch, const void* shared, const char* stacks, std::size_t stack_bytes) {
  events.clear();
  pages.clear();
  reported.clear();
  findings.clear();
  shared_begin = static_cast<const char*>(shared);
  shared_bytes = launch.shared_bytes;
  private_ranges.clear();
  const auto keep_out = [](const void* begin, std::size_t bytes) {
    private_ranges.emplace_back(static_cast<const char*>(begin), static_cast<const char*>(begin) + bytes);
  };
  keep_out(stacks, stack_bytes);
  keep_out(launch.params, launch.params_bytes);
  keep_out(&launch, sizeof launch);
  keep_out(&threadIdx, sizeof threadIdx);
  keep_out(&blockIdx, sizeof blockIdx);
  keep_out(&blockDim, sizeof blockDim);
  keep_out(&gridDim, sizeof gridDim);
  start_counting(launch);
}

void on_barrier() {
  ++epoch;
  for (int t = 0; t < kMaxThreads; ++t) forget_events_of(t);
}

void on_block(std::int64_t index) {
  block_index = index;
  epoch = 0;
  for (int t = 0; t < kMaxThreads; ++t) {
    std::fill_n(clocks[t], kWarp, 0u);
    clocks[t][t % kWarp] = 1;
    forget_events_of(t);
  }
  // Each block has a shared memory of its own.
  const auto first = reinterpret_cast<std::uintptr_t>(shared_begin);
  for (std::size_t i = 0; i < shared_bytes; ++i) {
    const auto page = pages.find((first + i) / kPage);
    if (page != pages.end()) page->second->cells[(first + i) % kPage] = Cell{};
  }
  finish_requests();
}

void on_sync_warp(int warp, std::uint32_t mask) {
  std::uint32_t joined[kWarp] = {};
  for (int l = 0; l < kWarp; ++l)
    if (mask >> l & 1u)
      for (int k = 0; k < kWarp; ++k) joined[k] = std::max(joined[k], clocks[warp * kWarp + l][k]);
  for (int l = 0; l < kWarp; ++l) {
    if (!(mask >> l & 1u)) continue;
    const int thread = warp * kWarp + l;
    std::copy_n(joined, kWarp, clocks[thread]);
    ++clocks[thread][l];
    forget_events_of(thread);
  }
}

// Each lane reads the four bytes that it gets, whoever named their address.
void on_ldmatrix(int first_thread, const void* const* rows, int matrices, bool transposed, const void* place) {
  for (int m = 0; m < matrices; ++m) {
    for (int l = 0; l < kWarp; ++l) {
      for (int i = 0; i < 2; ++i) {
        const int row = transposed ? l % 4 * 2 + i : l / 4, column = transposed ? l / 4 : l % 4 * 2 + i;
        access(first_thread + l, static_cast<const char*>(rows[m * 8 + row]) + 2 * column, 2, false, place, true);
      }
    }
    count_matrix(rows + m * 8, place);
  }
}

std::string on_finish() {
  finish_requests();
  std::string text;
  for (const std::string& finding : findings) text += (text.empty() ? "" : "; ") + finding;
  return text;
}

const Observer race_observer = {
    on_launch,
    on_block,
    [](int thread) { running = thread; },
    on_barrier,
    on_sync_warp,
    [](int thread, const void* p, std::size_t n, bool write, const void* place) {
      access(thread, p, n, write, place, false);
    },
    on_ldmatrix,
    on_finish,
};
const bool installed = (observer = &race_observer, true);

void instrumented(const void* address, std::size_t bytes, bool write, const void* place) {
  if (running >= 0) access(running, address, bytes, write, place, false);
}

}  // namespace
}  // namespace cuda_host

using cuda_host::instrumented;

#define AWSRN_FAST_HOOKS(Bytes)                                                                              \
  void __tsan_read##Bytes(void* p) { instrumented(p, Bytes, false, __builtin_return_address(0)); }           \
  void __tsan_write##Bytes(void* p) { instrumented(p, Bytes, true, __builtin_return_address(0)); }           \
  void __tsan_unaligned_read##Bytes(void* p) { instrumented(p, Bytes, false, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##Bytes(void* p) { instrumented(p, Bytes, true, __builtin_return_address(0)); } \
  void __tsan_volatile_read##Bytes(void* p) { instrumented(p, Bytes, false, __builtin_return_address(0)); }  \
  void __tsan_volatile_write##Bytes(void* p) { instrumented(p, Bytes, true, __builtin_return_address(0)); }

extern "C" {
AWSRN_FAST_HOOKS(1)
AWSRN_FAST_HOOKS(2)
AWSRN_FAST_HOOKS(4)
AWSRN_FAST_HOOKS(8)
AWSRN_FAST_HOOKS(16)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* p, unsigned long n) { instrumented(p, n, false, __builtin_return_address(0)); }
void __tsan_write_range(void* p, unsigned long n) { instrumented(p, n, true, __builtin_return_address(0)); }
void* __tsan_memcpy(void* to, const void* from, std::size_t n) {
  instrumented(from, n, false, __builtin_return_address(0));
  instrumented(to, n, true, __builtin_return_address(0));
  return std::memcpy(to, from, n);
}
void* __tsan_memset(void* to, int value, std::size_t n) {
  instrumented(to, n, true, __builtin_return_address(0));
  return std::memset(to, value, n);
}
void* __tsan_memmove(void* to, const void* from, std::size_t n) {
  instrumented(from, n, false, __builtin_return_address(0));
  instrumented(to, n, true, __builtin_return_address(0));
  return std::memmove(to, from, n);
}
}
