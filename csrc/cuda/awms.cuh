// The convolution as a product: positions times outputs, over the channels of every tap. A block keeps its positions
// and their margins in shared memory, where a tap is an offset, for a chunk of channels at a time. Its weights come
// through L1 in the order in which lanes hold them, so that nothing is awaited between the taps.
//
// The weight's order: [block of outputs, chunk of channels, tap], and then for
// - tensor cores, chunks of 16 channels: [pair of 8 outputs, lane, 8 outputs of the pair, half, 2], which are the
//   words of mma's B: channels 8 half + lane % 4 * 2 and the next, output lane / 4;
// - fp32, chunks of 8 channels: [channel, output].
// Outputs and channels are padded with zeros to whole blocks and chunks.
#pragma once

#include "common/tiles.h"
#include "cuda/awms.h"
#include "cuda/device.cuh"
#include "cuda/mma.cuh"

namespace awsrn_fast {

struct AwmsTile {
  static constexpr int kThreads = 256, kWarps = kThreads / 32;
  static constexpr int kBlocks = 2;  // on an SM of compute capability 7.5: 64 KB, and 128 registers a thread
  static constexpr int kSide = 16;  // positions of a block, down and across; a warp has kRows rows of them
  static constexpr int kRows = kSide / kWarps;
  static constexpr int kChunkBytes = 32;  // of the channels of one position
  static constexpr int kPitchBytes = 48;  // an odd multiple of 16: rows of an ldmatrix fall on different banks
};

// Division by a number that is known at the launch: exact for all n below 2^16, divisors below 2^16.
struct AwmsDivisor {
  int divisor = 1;
  std::uint64_t factor = 0;

  AwmsDivisor() = default;
  constexpr explicit AwmsDivisor(int by) : divisor(by), factor((std::uint64_t(1) << 32) / by + 1) {}
  __device__ constexpr int operator()(int n) const { return int(n * factor >> 32); }
};

// Blocks of a launch: positions down and across, and outputs.
struct AwmsGrid {
  Index down, across, outputs;
};

constexpr AwmsGrid awms_grid(const AwmsMaps& maps) {
  return {ceil_div(maps.h, AwmsTile::kSide), ceil_div(maps.w, AwmsTile::kSide),
          ceil_div(maps.outputs, 8 * awms_tiles(maps.outputs))};
}

// Where the outputs of a position lie in y.
struct AwmsShuffle {
  bool channels_last;
  int planes;  // the most that a block of outputs reaches into
  AwmsDivisor scale, inner;
  Index plane, row, column;  // strides of y
};

// Planes of scale * scale outputs that a block of `width` outputs can reach into.
constexpr int awms_planes(Index outputs, int width, int scale) {
  const int plane = scale * scale;
  if (outputs <= width) return int(outputs / plane);
  return width % plane == 0 ? width / plane : (width - 2) / plane + 2;
}

constexpr AwmsShuffle awms_shuffle(const AwmsMaps& maps, int scale, bool channels_last) {
  AwmsShuffle shuffle{};
  const Index planes = maps.outputs / (Index(scale) * scale);
  const Index wide = maps.w * scale, high = maps.h * scale;
  shuffle.channels_last = channels_last;
  shuffle.planes = awms_planes(maps.outputs, 8 * awms_tiles(maps.outputs), scale);
  shuffle.scale = AwmsDivisor(scale);
  shuffle.inner = AwmsDivisor(channels_last ? shuffle.planes : AwmsTile::kSide * scale);
  shuffle.plane = channels_last ? 1 : wide * high;
  shuffle.column = channels_last ? planes : 1;
  shuffle.row = wide * shuffle.column;
  return shuffle;
}

struct AwmsFwdParams {
  AwmsFwd a;
  AwmsGrid grid;
  AwmsShuffle shuffle;
  int chunks;  // of channels
  AwmsDivisor margin_side;
};

constexpr int awms_margin_side(int k) { return AwmsTile::kSide + k - 1; }

// Floats between the positions of a row of sums in shared memory.
template <int Tiles>
constexpr int kAwmsSumPitch = Tiles * 8 + 8;

template <int Tiles>
constexpr int awms_fwd_shared_bytes(int k) {
  const int maps = awms_margin_side(k) * awms_margin_side(k) * AwmsTile::kPitchBytes;
  const int sums = AwmsTile::kWarps * AwmsTile::kSide * kAwmsSumPitch<Tiles> * int(sizeof(float));
  return maps > sums ? maps : sums;
}

// The sums of one warp: kRows rows of 16 positions, Tiles * 8 outputs.
template <class T, int Arch, int Tiles>
struct AwmsSums {
  static constexpr int kPitch = AwmsTile::kPitchBytes / int(sizeof(T));
  static constexpr int kStep = Tiles * 8 * AwmsTile::kChunkBytes / int(sizeof(T));  // of the weight
  float d[AwmsTile::kRows][Tiles][4] = {};

  // A tap: `first` is the warp's first position moved by it, rows lie `next_row` apart.
  __device__ __forceinline__ void add(const T* first, int next_row, const T* weight, int lane) {
    std::uint32_t a[AwmsTile::kRows][4], b[Tiles][2];
#pragma unroll
    for (int pair = 0; pair < Tiles / 2; ++pair) {
      const uint4 words = reinterpret_cast<const uint4*>(weight)[pair * 32 + lane];
      b[2 * pair][0] = words.x, b[2 * pair][1] = words.y;
      b[2 * pair + 1][0] = words.z, b[2 * pair + 1][1] = words.w;
    }
#pragma unroll
    for (int row = 0; row < AwmsTile::kRows; ++row)
      ldmatrix_x4(a[row], first + row * next_row + lane % 16 * kPitch + lane / 16 * 8);
    mma_depth_16<T, Arch>(d, a, b);
  }

  __device__ __forceinline__ void put(int row, float* to, int lane) const {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile) {
      const float upper[] = {d[row][tile][0], d[row][tile][1]}, lower[] = {d[row][tile][2], d[row][tile][3]};
      float* const at = to + lane / 4 * kAwmsSumPitch<Tiles> + tile * 8 + lane % 4 * 2;
      store(at, upper);
      store(at + 8 * kAwmsSumPitch<Tiles>, lower);
    }
  }
};

// Half a warp has 4 outputs of each tile, a lane one position of each row.
template <int Arch, int Tiles>
struct AwmsSums<float, Arch, Tiles> {
  static constexpr int kPitch = AwmsTile::kPitchBytes / int(sizeof(float));
  static constexpr int kChunk = AwmsTile::kChunkBytes / int(sizeof(float));
  static constexpr int kStep = Tiles * 8 * kChunk;
  float d[AwmsTile::kRows][Tiles][4] = {};

  __device__ __forceinline__ void add(const float* first, int next_row, const float* weight, int lane) {
    constexpr int kVector = 2;  // 4 would spill where there are 48 outputs
#pragma unroll 1
    for (int channel = 0; channel < kChunk; channel += kVector) {
      float x[AwmsTile::kRows][kVector];
#pragma unroll
      for (int row = 0; row < AwmsTile::kRows; ++row)
        load(first + row * next_row + lane % 16 * kPitch + channel, x[row]);
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          float w[4];
          load(weight + ((channel + i) * Tiles + tile) * 8 + lane / 16 * 4, w);
#pragma unroll
          for (int row = 0; row < AwmsTile::kRows; ++row)
#pragma unroll
            for (int o = 0; o < 4; ++o) d[row][tile][o] += x[row][i] * w[o];
        }
    }
  }

  __device__ __forceinline__ void put(int row, float* to, int lane) const {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
      store(to + lane % 16 * kAwmsSumPitch<Tiles> + tile * 8 + lane / 16 * 4, d[row][tile]);
  }
};

// What a block computes. A grid's limit keeps all of these small.
struct AwmsPlace {
  int image, y, x;
  int first, count;  // outputs

  __device__ AwmsPlace(const AwmsMaps& maps, const AwmsGrid& grid, int width) {
    const unsigned outputs = unsigned(grid.outputs), across = unsigned(grid.across), down = unsigned(grid.down);
    unsigned rest = blockIdx.x;
    first = int(rest % outputs) * width, rest /= outputs;
    count = int(maps.outputs - first < width ? maps.outputs - first : width);
    x = int(rest % across) * AwmsTile::kSide, rest /= across;
    y = int(rest % down) * AwmsTile::kSide;
    image = int(rest / down);
  }

  // Positions of a row that are in the map.
  __device__ __forceinline__ int positions(const AwmsMaps& maps) const {
    return int(maps.w - x < AwmsTile::kSide ? maps.w - x : AwmsTile::kSide);
  }
};

// Vectors * 16 bytes of channels from `first` on, of the positions of a window whose corner is at (y, x) of an image,
// into shared memory, Pitch bytes a position; 0 outside of the map. A position of the image has `row` channels.
template <int Vectors, int Pitch, class T>
__device__ __forceinline__ void awms_load_window(const AwmsMaps& maps, const T* image, Index row, Index first, Index y,
                                                 Index x, int down, const AwmsDivisor& across, void* to) {
  const auto before = [](Index at, int side) { return int(at < -side ? side : at < 0 ? -at : 0); };
  const auto within = [](Index left, int side) { return int(left < 0 ? 0 : left < side ? left : side); };
  const int side = across.divisor, top = before(y, down), bottom = within(maps.h - y, down);
  const int left = before(x, side), right = within(maps.w - x, side);
  const int vectors = within(ceil_div(row - first, kWidest<T>), Vectors);
  const T* const corner = image + (y * maps.w + x) * row + first;
#pragma unroll 4
  for (int i = threadIdx.x; i < down * side * Vectors; i += blockDim.x) {
    const int position = i / Vectors, vector = i % Vectors;
    const int to_y = across(position), to_x = position - to_y * side;
    uint4 values = make_uint4(0, 0, 0, 0);
    if (to_y >= top && to_y < bottom && to_x >= left && to_x < right && vector < vectors)
      values = *reinterpret_cast<const uint4*>(corner + (to_y * maps.w + to_x) * row + vector * kWidest<T>);
    *reinterpret_cast<uint4*>(static_cast<unsigned char*>(to) + position * Pitch + vector * 16) = values;
  }
}

// The values of a row of 16 positions in line `down` of the `scale` that it has in y, in y's order, by the lanes of a
// warp: each(position, output of the block, plane, offset in y).
template <class Each>
__device__ __forceinline__ void awms_each_of_line(const AwmsMaps& maps, const AwmsShuffle& shuffle,
                                                  const AwmsPlace& place, int y, int down, int lane, Each each) {
  const int scale = shuffle.scale.divisor, first_plane = place.first / (scale * scale);
  const int positions = place.positions(maps);
  const Index line = place.image * maps.outputs * maps.h * maps.w + (Index(y) * scale + down) * shuffle.row +
                     place.x * scale * shuffle.column;
  for (int i = lane; i < AwmsTile::kSide * scale * shuffle.planes; i += 32) {
    const int outer = shuffle.inner(i), inner = i - outer * shuffle.inner.divisor;
    const int plane = first_plane + (shuffle.channels_last ? inner : outer);
    const int column = shuffle.channels_last ? outer : inner;
    const int position = shuffle.scale(column), across = column - position * scale;
    const int o = (plane * scale + down) * scale + across - place.first;
    if (o >= 0 && o < place.count && position < positions)
      each(position, o, plane, line + plane * shuffle.plane + column * shuffle.column);
  }
}

// [0, 1] to 8 bits as PyTorch rounds, to nearest even; NaN becomes 0.
__device__ __forceinline__ std::uint8_t awms_level(float value) {
  return std::uint8_t(__float2int_rn(fminf(fmaxf(value, 0.0f), 1.0f) * 255.0f));
}

// A warp's row of sums becomes `scale` lines of y.
template <int Tiles, class T>
__device__ __forceinline__ void awms_store_row(const AwmsFwdParams& p, const AwmsPlace& place, int y, float* sums,
                                               int lane) {
  constexpr int kWidth = Tiles * 8, kPitch = kAwmsSumPitch<Tiles>;
  const AwmsMaps& maps = p.a.maps;
  if (p.a.skip) {
    const Index at = ((place.image * maps.h + y) * maps.w + place.x) * maps.outputs + place.first;
    const T* const skip = static_cast<const T*>(p.a.skip) + at;
    for (int i = lane; i < place.positions(maps) * kWidth; i += 32) {
      const int position = i / kWidth, o = i % kWidth;
      if (o < place.count) sums[position * kPitch + o] += to_float(skip[position * maps.outputs + o]);
    }
    __syncwarp();
  }
  for (int down = 0; down < p.a.scale; ++down) {
    const auto store_value = [&](int position, int o, int plane, Index at) {
      float value = sums[position * kPitch + o];
      value += value_at<T>(p.a.bias, place.first + o, 0.0f);
      value *= p.a.out_scale;
      value += value_at<T>(p.a.shift, plane, 0.0f);
      if (p.a.levels) {
        static_cast<std::uint8_t*>(p.a.y)[at] = awms_level(value);
        return;
      }
      if (p.a.clamp) value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;  // NaN stays
      static_cast<T*>(p.a.y)[at] = from_float<T>(value);
    };
    awms_each_of_line(maps, p.shuffle, place, y, down, lane, store_value);
  }
}

template <class T, int Arch, int Tiles>
__global__ void __launch_bounds__(AwmsTile::kThreads, AwmsTile::kBlocks) awms_fwd_kernel(AwmsFwdParams p) {
  if constexpr (instance_runs_here<T, Arch>()) {
    using Sums = AwmsSums<T, Arch, Tiles>;
    constexpr int kRows = AwmsTile::kRows, kChunk = AwmsTile::kChunkBytes / int(sizeof(T));
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, k = p.a.maps.k;
    const AwmsPlace place(p.a.maps, p.grid, Tiles * 8);
    unsigned char* const shared = dynamic_shared<unsigned char>();
    const int next_row = p.margin_side.divisor * Sums::kPitch;
    const T* const image = static_cast<const T*>(p.a.x) + place.image * p.a.maps.h * p.a.maps.w * p.a.row;
    const T* weight =
        static_cast<const T*>(p.a.weight) + Index(place.first) / (Tiles * 8) * p.chunks * (k * k * Sums::kStep);
    Sums sums;
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      if (chunk) __syncthreads();
      awms_load_window<AwmsTile::kChunkBytes / 16, AwmsTile::kPitchBytes>(
          p.a.maps, image, p.a.row, Index(chunk) * kChunk, place.y - k / 2, place.x - k / 2, p.margin_side.divisor,
          p.margin_side, shared);
      __syncthreads();
      const T* row = reinterpret_cast<const T*>(shared) + warp * kRows * next_row;
      for (int down = 0; down < k; ++down, row += next_row)
        for (int across = 0; across < k; ++across, weight += Sums::kStep)
          sums.add(row + across * Sums::kPitch, next_row, weight, lane);
    }
    __syncthreads();
    float* const mine = reinterpret_cast<float*>(shared) + warp * AwmsTile::kSide * kAwmsSumPitch<Tiles>;
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const int y = place.y + warp * kRows + row;
      if (y >= p.a.maps.h) break;
      if (row) __syncwarp();
      sums.put(row, mine, lane);
      __syncwarp();
      awms_store_row<Tiles, T>(p, place, y, mine, lane);
    }
  }
}

}  // namespace awsrn_fast
