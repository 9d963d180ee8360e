// The scheduler: fibers, barriers, warp operations, limits of compute capability 7.5.
#include "block.h"

#include <dlfcn.h>
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "fiber.h"
#include "records.h"

namespace cuda_host {
namespace {

constexpr int kMaxThreads = 1024;
constexpr unsigned kMaxGridYZ = 65535;
constexpr unsigned char kPoison = 0xFF;  // NaN in every floating type

enum class State { ready, at_barrier, in_warp_op, exited };

struct Thread {
  Fiber fiber;
  State state;
  uint3 index;
  Site site;
  std::uint32_t mask;
  WarpOp op;
  Lane lane;
};

struct Block {
  std::vector<Thread> threads;
  bool products = false;
  int count = 0, alive = 0, waiting = 0, current = -1;
  unsigned char* shared = nullptr;
  const Launch* launch = nullptr;
  Fiber scheduler;
  std::string failure;
};

Block block;
std::uint64_t thread_order = 0;
bool running = true;
std::uint64_t launches = 0;
std::map<std::string, LaunchRecord> records;
std::mutex one_launch;  // the bindings release the GIL

Thread& current() { return block.threads[block.current]; }

void yield() { switch_fiber(current().fiber, block.scheduler); }

const char* name_of(WarpOp op) {
  constexpr const char* names[] = {"__syncwarp",     "__shfl_sync",   "__shfl_xor_sync", "__shfl_down_sync",
                                   "__shfl_up_sync", "__ballot_sync", "ldmatrix",        "mma"};
  return names[int(op)];
}

std::string place(const Site& site) {
  const char* slash = std::strrchr(site.file, '/');
  return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

// "threads 0-31 in __syncthreads at a.cu:12, threads 32-63 exited"
std::string where_threads_are() {
  const auto describe = [](const Thread& t) -> std::string {
    char mask[16];
    std::snprintf(mask, sizeof mask, "%08x", t.mask);
    switch (t.state) {
      case State::ready:
        return "running";
      case State::at_barrier:
        return "in __syncthreads at " + place(t.site);
      case State::in_warp_op:
        return std::string("in ") + name_of(t.op) + " at " + place(t.site) + " with mask " + mask;
      default:
        return "exited";
    }
  };
  std::string text;
  for (int first = 0, shown = 0; first < block.count && shown < 8; ++shown) {
    const std::string said = describe(block.threads[first]);
    int last = first;
    while (last + 1 < block.count && describe(block.threads[last + 1]) == said) ++last;
    text += (text.empty() ? "" : ", ") + ("threads " + std::to_string(first) + "-" + std::to_string(last)) + " " + said;
    first = last + 1;
  }
  return text;
}

void release_barrier() {
  const Thread* first = nullptr;
  for (int i = 0; i < block.count; ++i) {
    Thread& t = block.threads[i];
    if (t.state != State::at_barrier) continue;
    if (first && first->site.id != t.site.id) fail("threads of one block wait in different __syncthreads");
    if (!first) first = &t;
  }
  for (int i = 0; i < block.count; ++i)
    if (block.threads[i].state == State::at_barrier) block.threads[i].state = State::ready;
  block.waiting = 0;
  if (observer) observer->barrier();
}

void thread_main() {
  finish_switch(current().fiber);
  block.launch->thread();
  current().state = State::exited;
  if (--block.alive && block.waiting == block.alive) release_barrier();
  yield();
}

void check_limits(const Launch& launch) {
  const std::uint64_t threads = std::uint64_t(launch.block.x) * launch.block.y * launch.block.z;
  const auto refuse = [&](const std::string& what) { throw std::runtime_error(std::string(launch.op) + ": " + what); };
  if (threads < 1 || threads > kMaxThreads || launch.block.z > 64)
    refuse("a block of " + std::to_string(threads) + " threads (1 to 1024, z up to 64)");
  if (launch.shared_bytes > kMaxShared)
    refuse(std::to_string(launch.shared_bytes) + " bytes of shared memory (64 KB on compute capability 7.5)");
  if (launch.grid.x > 0x7fffffffu || launch.grid.y > kMaxGridYZ || launch.grid.z > kMaxGridYZ)
    refuse("a grid too large in x (2^31 - 1), y or z (65535)");
}

void start_block(const Launch& launch, uint3 index, std::mt19937_64& random, std::vector<int>& order) {
  blockIdx = index;
  std::memset(block.shared, kPoison, launch.shared_bytes + kSharedGuard);
  block.alive = block.count;
  block.waiting = 0;
  for (int i = 0; i < block.count; ++i) {
    Thread& t = block.threads[i];
    t.state = State::ready;
    t.index = {i % launch.block.x, i / launch.block.x % launch.block.y, i / launch.block.x / launch.block.y};
    t.lane.thread = i;
    start_fiber(t.fiber, thread_main);
    order[i] = i;
  }
  if (thread_order) std::shuffle(order.begin(), order.end(), random);
}

void run_block(const std::vector<int>& order) {
  while (block.alive && block.failure.empty()) {
    bool progress = false;
    for (const int i : order) {
      Thread& t = block.threads[i];
      while (t.state == State::ready && block.failure.empty()) {
        progress = true;
        block.current = i;
        threadIdx = t.index;
        if (observer) observer->resume(i);
        switch_fiber(block.scheduler, t.fiber);
      }
    }
    if (!progress && block.failure.empty()) block.failure = "deadlock, no thread can go on: " + where_threads_are();
  }
  if (observer) observer->resume(-1);
}

}  // namespace

void fail(const std::string& what) {
  block.failure = what + ": " + where_threads_are();
  yield();
  __builtin_unreachable();
}

void barrier(Site site) {
  Thread& me = current();
  me.site = site;
  me.state = State::at_barrier;
  if (++block.waiting == block.alive) {
    release_barrier();
  } else {
    yield();
  }
}

std::uint64_t warp_op(WarpOp op, std::uint32_t mask, std::uint64_t in, std::uint64_t argument, Site site,
                      void (*finish)(Lane*)) {
  Thread& me = current();
  const int lane = block.current % warpSize, first = block.current - lane;
  me.site = site;
  me.mask = mask;
  me.op = op;
  me.lane.in = in;
  me.lane.argument = argument;
  me.state = State::in_warp_op;
  if (!(mask >> lane & 1u)) fail(std::string("thread ") + std::to_string(block.current) + " is not in its own mask");

  std::uint32_t arrived = 0;
  for (int l = 0; l < warpSize; ++l) {
    if (!(mask >> l & 1u)) continue;
    if (first + l >= block.count) fail("the mask of a warp operation names lanes that the block does not have");
    const Thread& t = block.threads[first + l];
    if (t.state == State::exited) fail("the mask of a warp operation names a lane that has exited");
    if (t.state == State::in_warp_op && t.mask == mask && t.op == op) arrived |= 1u << l;
  }
  if (arrived != mask) {
    yield();
    return me.lane.out;
  }
  Lane lanes[warpSize];
  for (int l = 0; l < warpSize; ++l) {
    if (first + l >= block.count) continue;
    lanes[l] = block.threads[first + l].lane;
    lanes[l].named = mask >> l & 1u;
  }
  block.products |= op == WarpOp::mma;
  if (finish) finish(lanes);
  for (int l = 0; l < warpSize; ++l) {
    if (!lanes[l].named) continue;
    block.threads[first + l].lane.out = lanes[l].out;
    block.threads[first + l].state = State::ready;
  }
  if (op == WarpOp::sync && observer) observer->sync_warp(first / warpSize, mask);
  return me.lane.out;
}

unsigned char* dynamic_shared_memory() { return block.shared; }

std::size_t dynamic_shared_bytes() { return block.launch->shared_bytes; }

int lane_id() { return block.current % warpSize; }

__attribute__((noinline)) void copy_whole(void* to, const void* from, std::size_t bytes) {
  if (observer && block.current >= 0) {
    observer->access(block.current, from, bytes, false, __builtin_return_address(0));
    observer->access(block.current, to, bytes, true, __builtin_return_address(0));
  }
  std::memcpy(to, from, bytes);
}

void set_thread_order(std::uint64_t seed) { thread_order = seed; }

void set_running(bool on) { running = on; }

std::vector<LaunchRecord> take_launch_records() {
  std::vector<LaunchRecord> taken;
  for (const auto& entry : records) taken.push_back(entry.second);
  records.clear();
  return taken;
}

std::uint64_t take_launch_count() { return std::exchange(launches, 0); }

std::string kernel_name(const void* kernel) {
  Dl_info info{};
  const bool named = dladdr(kernel, &info) && info.dli_sname && info.dli_saddr == kernel;
  return named ? info.dli_sname : "?";
}

void record(const Launch& launch) {
  const std::string kernel = kernel_name(launch.kernel);
  ++launches;
  LaunchRecord& r = records[kernel];
  r.op = launch.op;
  r.kernel = kernel;
  r.blocks += launch.grid.x * launch.grid.y * launch.grid.z;
  r.threads = std::max(r.threads, launch.block.x * launch.block.y * launch.block.z);
  r.shared_bytes = std::max(r.shared_bytes, launch.shared_bytes);
  r.products |= block.products;
}

void run(const Launch& launch) {
  const std::lock_guard<std::mutex> lock(one_launch);
  check_limits(launch);
  block.count = int(launch.block.x * launch.block.y * launch.block.z);
  block.launch = &launch;
  block.failure.clear();
  block.products = false;
  if (!running) return record(launch);
  gridDim = launch.grid;
  blockDim = launch.block;
  if (int(block.threads.size()) < block.count) block.threads.resize(block.count);
  const char* stacks = allocate_stacks(kMaxThreads);
  for (int i = 0; i < block.count; ++i) block.threads[i].fiber.stack = const_cast<char*>(stacks) + i * kStackBytes;
  alignas(128) static unsigned char memory[kSharedWindow];
  block.shared = memory;
  if (observer) observer->launch(launch, block.shared, stacks, kMaxThreads * kStackBytes);

  std::mt19937_64 random(thread_order);
  std::vector<int> order(block.count);
  std::int64_t index = 0;
  for (unsigned z = 0; z < launch.grid.z; ++z)
    for (unsigned y = 0; y < launch.grid.y; ++y)
      for (unsigned x = 0; x < launch.grid.x; ++x, ++index) {
        if (observer) observer->block(index);
        start_block(launch, {x, y, z}, random, order);
        run_block(order);
        const unsigned char* guard = block.shared + launch.shared_bytes;
        if (block.failure.empty() &&
            std::any_of(guard, guard + kSharedGuard, [](unsigned char b) { return b != kPoison; }))
          block.failure = "wrote beyond the end of shared memory";
        if (!block.failure.empty()) break;
      }
  block.current = -1;
  record(launch);
  std::string failure = block.failure;
  if (!failure.empty())
    failure += " (block " + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
               std::to_string(blockIdx.z) + ")";
  if (observer) {
    const std::string races = observer->finish();
    if (failure.empty()) failure = races;
  }
  if (!failure.empty()) throw std::runtime_error(std::string(launch.op) + ": " + failure);
}

}  // namespace cuda_host
