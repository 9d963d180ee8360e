// From the gradient of y to that of the convolution's output: PixelShuffle, denormalisation and clamp backwards in one
// pass, with the sums that are the gradients of bias and shift. Each block leaves its sums; a second kernel adds them
// in order.
#pragma once

#include "cuda/awms.cuh"

namespace awsrn_fast {

struct AwmsGradTile {
  static constexpr int kBlocks = 2;  // on an SM of compute capability 7.5: its 64 KB
  static constexpr int kSumThreads = 256;
  static constexpr int kSumBlocks = 4;
};

struct AwmsBwdGradParams {
  AwmsBwdGrad a;
  AwmsGrid grid;
  AwmsShuffle shuffle;
  AwmsDivisor width;  // of a block of outputs
  Index parts;  // blocks of positions
};

// Floats between positions in shared memory: 4 more spread the neighbours in y, which are 16 outputs or a position
// apart.
constexpr int awms_grad_pitch(int width) { return width + 4; }

constexpr int awms_grad_shared_bytes(int width) {
  return AwmsTile::kWarps * AwmsTile::kSide * awms_grad_pitch(width) * int(sizeof(float));
}

template <class T>
__global__ void __launch_bounds__(AwmsTile::kThreads, AwmsGradTile::kBlocks) awms_bwd_grad_kernel(AwmsBwdGradParams p) {
  constexpr int kRows = AwmsTile::kRows, kLaneOutputs = (8 * kAwmsMostTiles + 31) / 32;
  const AwmsMaps& maps = p.a.maps;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int width = p.width.divisor, pitch = awms_grad_pitch(width);
  const AwmsPlace place(maps, p.grid, width);
  const int positions = place.positions(maps);
  const T* const grad_y = static_cast<const T*>(p.a.grad_y);
  const T* const y = static_cast<const T*>(p.a.y);
  float* const shared = dynamic_shared<float>();
  float* const mine = shared + warp * AwmsTile::kSide * pitch;
  float sums[kLaneOutputs] = {};
  for (int row = 0; row < kRows; ++row) {
    const int at_y = place.y + warp * kRows + row;
    if (at_y >= maps.h) break;
    if (row) __syncwarp();
    for (int down = 0; down < p.a.scale; ++down)
      awms_each_of_line(maps, p.shuffle, place, at_y, down, lane, [&](int position, int o, int, Index at) {
        const float value = y ? to_float(y[at]) : 0.0f;
        mine[position * pitch + o] = value >= 0.0f && value <= 1.0f ? to_float(grad_y[at]) : 0.0f;
      });
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kLaneOutputs; ++k)
      if (lane + 32 * k < place.count)
        for (int position = 0; position < positions; ++position) sums[k] += mine[position * pitch + lane + 32 * k];
    T* const to = static_cast<T*>(p.a.grad) + ((place.image * maps.h + at_y) * maps.w + place.x) * p.a.grad_row;
    for (int i = lane; i < positions * width; i += 32) {
      const int position = p.width(i), o = i - position * width;
      if (place.first + o < p.a.grad_row)
        to[position * p.a.grad_row + place.first + o] =
            from_float<T>(o < place.count ? p.a.out_scale * mine[position * pitch + o] : 0.0f);
    }
  }
  if (!p.a.workspace) return;
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kLaneOutputs; ++k)
    if (lane + 32 * k < place.count) shared[warp * width + lane + 32 * k] = sums[k];
  __syncthreads();
  const int o = threadIdx.x;
  if (o >= place.count) return;
  float sum = 0;
  for (int w = 0; w < AwmsTile::kWarps; ++w) sum += shared[w * width + o];
  p.a.workspace[(place.first + o) * p.parts + blockIdx.x / p.grid.outputs] = sum;
}

// One plane of y a block, a warp every eighth of its outputs.
template <class T>
__global__ void __launch_bounds__(AwmsGradTile::kSumThreads, AwmsGradTile::kSumBlocks)
    awms_bwd_grad_sum_kernel(AwmsBwdGradParams p) {
  constexpr int kWarps = AwmsGradTile::kSumThreads / 32;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, outputs = p.a.scale * p.a.scale;
  float of_plane = 0;
  for (int i = warp; i < outputs; i += kWarps) {
    const Index o = Index(blockIdx.x) * outputs + i;
    float sum = 0;
    for (Index part = lane; part < p.parts; part += 32) sum += p.a.workspace[o * p.parts + part];
    sum = warp_sum(sum);
    if (lane == 0 && p.a.grad_bias) p.a.grad_bias[o] = p.a.out_scale * sum;
    of_plane += sum;
  }
  if (!p.a.grad_shift) return;
  float* const shared = dynamic_shared<float>();
  if (lane == 0) shared[warp] = of_plane;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += shared[w];
  p.a.grad_shift[blockIdx.x] = sum;
}

}  // namespace awsrn_fast
