// Runs the threads of one CUDA block as fibers on one CPU thread, and watches that they obey CUDA's rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Set anew whenever another thread goes on.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace cuda_host {

// A place in the source where threads meet; `id` tells two on one line apart.
struct Site {
  const char* file;
  int line, id;
};

enum class WarpOp { sync, shuffle, shuffle_xor, shuffle_down, shuffle_up, ballot, ldmatrix, mma };

// What one lane hands to an operation of its warp, and gets back.
struct Lane {
  std::uint64_t in = 0, argument = 0, out = 0;
  bool named = false;  // by the mask
  int thread = 0;
};

// Breaks off the launch with a message; called by a CUDA thread. The launch throws std::runtime_error.
[[noreturn]] void fail(const std::string& what);

void barrier(Site site);

// Every lane that the mask names hands in `in` and `argument`; the last of them runs `finish` over the 32 lanes.
std::uint64_t warp_op(WarpOp op, std::uint32_t mask, std::uint64_t in, std::uint64_t argument, Site site,
                      void (*finish)(Lane* lanes));

// Where shared memory lies, and what may be reached by mistake behind it without harm.
inline constexpr std::size_t kMaxShared = 64 * 1024, kSharedGuard = 4096, kSharedWindow = kMaxShared + kSharedGuard;
unsigned char* dynamic_shared_memory();
std::size_t dynamic_shared_bytes();
int lane_id();

// One access of all bytes, for the race check.
void copy_whole(void* to, const void* from, std::size_t bytes);

struct Launch {
  const char* op;
  const void* kernel;
  dim3 grid, block;
  std::size_t shared_bytes;
  const void* params;  // read by all threads, from constant memory on a GPU
  std::size_t params_bytes;
  std::function<void()> thread;  // the kernel with its arguments
};

// Runs all blocks, in order. Throws std::runtime_error where a rule is broken.
void run(const Launch& launch);

// The order in which threads are tried: 0 ascending, else a permutation that the seed draws anew for each block.
void set_thread_order(std::uint64_t seed);

// Off: launches are checked against the limits and recorded, but nothing runs and no output is written.
void set_running(bool on);

// A kernel's mangled name, which is nvcc's too.
std::string kernel_name(const void* kernel);

struct LaunchRecord {
  std::string op, kernel;
  unsigned blocks, threads;
  std::size_t shared_bytes;
  bool products;  // whether it used mma
};

// What the race build hears of; null in the other builds.
struct Observer {
  void (*launch)(const Launch&, const void* shared, const char* stacks, std::size_t stack_bytes);
  void (*block)(std::int64_t index);
  void (*resume)(int thread);  // -1: no thread of a block runs
  void (*barrier)();
  void (*sync_warp)(int warp, std::uint32_t mask);
  void (*access)(int thread, const void* address, std::size_t bytes, bool write, const void* place);
  void (*ldmatrix)(int first_thread, const void* const* rows, int matrices, bool transposed, const void* place);
  std::string (*finish)();  // the races found, empty if none
};
inline const Observer* observer = nullptr;

}  // namespace cuda_host
