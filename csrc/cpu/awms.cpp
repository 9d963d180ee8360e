// Reconstruction: a 9x9 convolution, then PixelShuffle, skip, scale, shift and clamp; and its weight's gradient.
//
// Algorithm: nested Winograd in both dimensions (cpu/nested_winograd.h): tiles of 12x12 outputs at 30x30 points. The
// map is cut into groups of segments whose transforms stay in the caches (cpu/awms_cut.h); a group passes through
// 1. transform of the input down the rows, for all columns: [30][columns][C];
// 2. per point of the rows, in chunks of tiles: transform along the columns, 30 products [tiles, C] x [C, O], and the
//    inverse transform along the columns: [30][columns][O];
// 3. inverse transform down the rows, with the epilogue, straight to the output.
// The weight's gradient replaces 2 and 3 by outer products, summed up at the points and taken back to taps at the end.
//
// Parallel: OpenMP over columns (1), points and chunks (2), tiles (3), and over the points in the gradient. No sum is
// divided among threads, so results don't depend on their number.
//
// Memory: two transformed maps of one group, shared, and for each thread 30 products of a chunk (Group::local).
#include "cpu/awms.h"

#include "cpu/openmp.h"

#include <type_traits>

#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "cpu/nested_winograd.h"
#include "cpu/outer_product.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

struct Segment {
  Index image, row, column;  // of its first output
};

inline Segment segment_at(const AwmsCut& cut, Index index) {
  const Index line = index / cut.across;
  return {line / cut.down, line % cut.down * kNestedTile, index % cut.across * cut.tiles * kNestedTile};
}

// The group's part of the scratch and what is in it.
struct Group {
  const AwmsShape& s;
  const AwmsCut& cut;
  Index first, count;     // segments
  Index c, o;             // padded channels
  float *input, *output, *local;  // [30][columns][C], [30][columns][O], [threads][30][chunk][C + O]

  Group(const AwmsShape& shape, float* scratch) : s(shape), cut(shape.cut), first(0), count(0), c(cut.c), o(cut.o) {
    input = scratch;
    output = input + kPoints * cut.input_stride;
    local = output + kPoints * cut.output_stride;
  }
  float* end() const { return local + s.threads * kPoints * kAwmsChunk * (c + o); }
  Index tiles() const { return count * cut.tiles; }
  // The first column in `input` of the group's tile `tile`, including the margin on its left.
  Index input_column(Index tile) const { return tile / cut.tiles * cut.columns + tile % cut.tiles * kNestedTile; }
};

// Transforms the columns of a map down the rows: `margin` more columns on each side, `Rows` rows a tile, the last
// of which lie `margin` rows above the segment.
template <class T, int Rows, class Transform>
void transform_columns(const Group& g, const void* map, Index channels, Index wide, Index margin, float* to,
                       Index stride, Transform transform) {
  constexpr Index kColumns = 8;
  const AwmsShape& s = g.s;
  const Index columns = g.cut.tiles * kNestedTile + 2 * margin, parts = ceil_div(columns, kColumns);
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index item = 0; item < g.count * parts; ++item) {
    const Segment segment = segment_at(g.cut, g.first + item / parts);
    const Index begin = item % parts * kColumns, end = min_of(begin + kColumns, columns);
    const T* from = static_cast<const T*>(map) + segment.image * s.h * s.w * channels;
    for (Index i = begin; i < end; ++i) {
      const Index column = segment.column - margin + i;
      float* place = to + (item / parts * columns + i) * wide;
      for (Index c = 0; c < wide; c += kLanes) {
        Vec x[Rows] = {}, z[kPoints] = {};
        const Index present = min_of(kLanes, channels - c);
        if (column >= 0 && column < s.w && present > 0) {
          for (int r = 0; r < Rows; ++r) {
            const Index row = segment.row - margin + r;
            if (row < 0 || row >= s.h) continue;
            const T* value = from + (row * s.w + column) * channels + c;
            x[r] = present == kLanes ? load(value, AllLanes{}) : load(value, SomeLanes{int(present)});
          }
          transform(x, z);
        }
        for (int f = 0; f < kPoints; ++f) store(place + f * stride + c, z[f], AllLanes{});
      }
    }
  }
}

template <class T>
void transform_rows_of_input(const Group& g, const void* x) {
  transform_columns<T, kReach>(g, x, g.s.c, g.c, kTaps / 2, g.input, g.cut.input_stride,
                               [](const Vec(&in)[kReach], Vec(&out)[kPoints]) { transform_input(in, out); });
}

template <class T>
void expand_rows_of_gradient(const Group& g, const void* grad) {
  transform_columns<T, kNestedTile>(g, grad, g.s.o, g.o, 0, g.output, g.cut.output_stride,
                                    [](const Vec(&in)[kNestedTile], Vec(&out)[kPoints]) { expand_output(in, out); });
}

// Transforms `count` tiles from `tile` on along their columns, at one point of the rows: [30][chunk][wide].
inline void input_points(const Group& g, int point, Index tile, Index count, float* to) {
  for (Index i = 0; i < count; ++i) {
    const float* from = g.input + point * g.cut.input_stride + g.input_column(tile + i) * g.c;
    for (Index c = 0; c < g.c; c += kLanes) {
      Vec x[kReach], z[kPoints];
      for (int k = 0; k < kReach; ++k) x[k] = load(from + k * g.c + c, AllLanes{});
      transform_input(x, z);
      for (int f = 0; f < kPoints; ++f) store(to + (f * kAwmsChunk + i) * g.c + c, z[f], AllLanes{});
    }
  }
}

// Products at every point, and the columns' way back.
void multiply(const Group& g, const float* points) {
  const Index chunks = ceil_div(g.tiles(), kAwmsChunk);
#pragma omp parallel for num_threads(g.s.threads) schedule(static)
  for (Index item = 0; item < kPoints * chunks; ++item) {
    const int point = int(item / chunks);
    const Index tile = item % chunks * kAwmsChunk, count = min_of(kAwmsChunk, g.tiles() - tile);
    float* in = g.local + omp_get_thread_num() * kPoints * kAwmsChunk * (g.c + g.o);
    float* out = in + kPoints * kAwmsChunk * g.c;
    input_points(g, point, tile, count, in);
    for (int f = 0; f < kPoints; ++f) {
      const Matrix a{in + f * kAwmsChunk * g.c, g.c}, b{points + (point * kPoints + f) * g.c * g.o, g.o};
      gemm(count, g.o / kLanes, g.s.c, a, b, out + f * kAwmsChunk * g.o, g.o, Onto{nullptr, false});
    }
    float* to = g.output + point * g.cut.output_stride + tile * kNestedTile * g.o;
    for (Index i = 0; i < count; ++i) {
      for (Index o = 0; o < g.o; o += kLanes) {
        Vec z[kPoints], y[kNestedTile];
        for (int f = 0; f < kPoints; ++f) z[f] = load(out + (f * kAwmsChunk + i) * g.o + o, AllLanes{});
        transform_output(z, y);
        for (int u = 0; u < kNestedTile; ++u) store(to + (i * kNestedTile + u) * g.o + o, y[u], AllLanes{});
      }
    }
  }
}

template <class T, class To, class Lanes>
inline void finish(const AwmsOutput& out, Vec value, const T* skip, Index o, To* to, Lanes lanes) {
  if (skip) value += load(skip + o, lanes);
  value *= out.scale;
  if (out.shift) value += load(out.shift + o, lanes);
  if (out.clamp) {
    // A NaN stays one: no comparison with it holds.
    value = value < splat(0) ? splat(0) : value;
    value = value > splat(1) ? splat(1) : value;
  }
  store(to + o, value, lanes);
}

inline std::uint8_t level(float value) {
  if (!(value > 0)) return 0;  // NaN too
  return static_cast<std::uint8_t>(value < 1 ? __builtin_rintf(value * 255) : 255.0f);
}

// What values are in before PixelShuffle puts them into a y of type To, T or 8-bit.
template <class T, class To>
using Line = std::conditional_t<std::is_same_v<To, std::uint8_t>, float, T>;

// One position's channels: scaled, shifted and stored, or scattered to where PixelShuffle puts them.
template <class T, class To>
inline void store_position(const AwmsShape& s, const AwmsOutput& out, const float* values, Index image, Index row,
                           Index column, Line<T, To>* line) {
  const Index position = ((image * s.h + row) * s.w + column) * s.o;
  const T* skip = out.skip ? static_cast<const T*>(out.skip) + position : nullptr;
  // Prefetch two positions ahead: a tile goes from column to column, which the hardware prefetcher does not detect.
  constexpr Index kLine = 64 / sizeof(T);
  for (Index o = 0; skip && o < s.o; o += kLine) __builtin_prefetch(skip + 2 * s.o + o);
  Line<T, To>* to = out.offset ? line : static_cast<Line<T, To>*>(out.y) + position;
  Index o = 0;
  for (; o + kLanes <= s.o; o += kLanes) finish(out, load(values + o, AllLanes{}), skip, o, to, AllLanes{});
  if (o < s.o) finish(out, load(values + o, AllLanes{}), skip, o, to, SomeLanes{int(s.o - o)});
  if (!out.offset) return;
  To* corner = static_cast<To*>(out.y) + image * out.image + row * out.row + column * out.column;
  for (o = 0; o < s.o; ++o) {
    if constexpr (std::is_same_v<To, T>)
      corner[out.offset[o]] = line[o];
    else
      corner[out.offset[o]] = level(line[o]);
  }
}

// The rows' way back, and the epilogue. A tile's 12x12 positions pass through the thread's scratch a column at a time.
template <class T, class To>
void finish_tiles(const Group& g, const AwmsOutput& out) {
  const AwmsShape& s = g.s;
  const Index stride = g.cut.output_stride;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index tile = 0; tile < g.tiles(); ++tile) {
    const Segment segment = segment_at(g.cut, g.first + tile / g.cut.tiles);
    const Index left = segment.column + tile % g.cut.tiles * kNestedTile;
    float* rows = g.local + omp_get_thread_num() * kPoints * kAwmsChunk * (g.c + g.o);  // [12][wide O]
    auto* line = reinterpret_cast<Line<T, To>*>(rows + kNestedTile * g.o);
    for (Index u = 0; u < min_of(kNestedTile, s.w - left); ++u) {
      const float* from = g.output + (tile * kNestedTile + u) * g.o;
      for (Index o = 0; o < g.o; o += kLanes) {
        Vec z[kPoints], y[kNestedTile];
        for (int f = 0; f < kPoints; ++f) {
          z[f] = load(from + f * stride + o, AllLanes{});
          __builtin_prefetch(from + f * stride + o + 2 * g.o);  // too many streams for the hardware's
        }
        transform_output(z, y);
        for (int r = 0; r < kNestedTile; ++r) store(rows + r * g.o + o, y[r], AllLanes{});
      }
      for (Index r = 0; r < min_of(kNestedTile, s.h - segment.row); ++r) {
        store_position<T, To>(s, out, rows + r * g.o, segment.image, segment.row + r, left + u, line);
      }
    }
  }
}

template <class Body>
void for_each_group(Group& g, Body body) {
  for (g.first = 0; g.first < g.cut.segments; g.first += g.cut.group) {
    g.count = min_of(g.cut.group, g.cut.segments - g.first);
    body();
  }
}

template <class T>
void conv(const AwmsConv& a) {
  Group g(a.shape, a.scratch);
  for_each_group(g, [&] {
    transform_rows_of_input<T>(g, a.x);
    multiply(g, a.points);
    if (a.out.levels)
      finish_tiles<T, std::uint8_t>(g, a.out);
    else
      finish_tiles<T, T>(g, a.out);
  });
}

// Adds the group's products to `points` [30][30][C][O]; a point of the rows belongs to one thread, so that the sum's
// order does not depend on their number.
void accumulate(const Group& g, float* points) {
  const Index stride = g.cut.output_stride;
#pragma omp parallel for num_threads(g.s.threads) schedule(static)
  for (int point = 0; point < kPoints; ++point) {
    float* in = g.local + omp_get_thread_num() * kPoints * kAwmsChunk * (g.c + g.o);
    float* grad = in + kPoints * kAwmsChunk * g.c;
    for (Index tile = 0; tile < g.tiles(); tile += kAwmsChunk) {
      const Index count = min_of(kAwmsChunk, g.tiles() - tile);
      input_points(g, point, tile, count, in);
      for (Index i = 0; i < count; ++i) {
        const float* from = g.output + point * stride + (tile + i) * kNestedTile * g.o;
        for (Index o = 0; o < g.o; o += kLanes) {
          Vec y[kNestedTile], z[kPoints];
          for (int u = 0; u < kNestedTile; ++u) y[u] = load(from + u * g.o + o, AllLanes{});
          expand_output(y, z);
          for (int f = 0; f < kPoints; ++f) store(grad + (f * kAwmsChunk + i) * g.o + o, z[f], AllLanes{});
        }
      }
      for (int f = 0; f < kPoints; ++f) {
        outer_product(count, {in + f * kAwmsChunk * g.c, g.c}, g.c, {grad + f * kAwmsChunk * g.o, g.o}, g.o,
                      points + (point * kPoints + f) * g.c * g.o, g.o, g.first > 0 || tile > 0);
      }
    }
  }
}

// Sums of the gradient over each segment of the group, [segments][wide O].
template <class T>
void sum_gradient(const Group& g, const void* grad, float* sums) {
  const AwmsShape& s = g.s;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index item = 0; item < g.count; ++item) {
    const Segment segment = segment_at(g.cut, g.first + item);
    const Index width = min_of(g.cut.tiles * kNestedTile, s.w - segment.column);
    for (Index o = 0; o < s.o; o += kLanes) {
      const SomeLanes lanes{int(min_of(kLanes, s.o - o))};
      Vec total{};
      for (Index row = segment.row; row < min_of(segment.row + kNestedTile, s.h); ++row) {
        const Index start = (segment.image * s.h + row) * s.w + segment.column;
        Vec line{};
        for (Index x = 0; x < width; ++x) {
          line += load(static_cast<const T*>(grad) + (start + x) * s.o + o, lanes);
        }
        total += line;
      }
      store(sums + (g.first + item) * g.o + o, total, AllLanes{});
    }
  }
}

// The taps' gradients from the points': the transpose of prepare().
void collect_taps(const AwmsGradWeight& a, const Group& g, const float* points) {
  const AwmsShape& s = a.shape;
#pragma omp parallel for num_threads(s.threads) schedule(static)
  for (Index c = 0; c < s.c; ++c) {
    for (Index o = 0; o < s.o; o += kLanes) {
      const SomeLanes lanes{int(min_of(kLanes, s.o - o))};
      Vec rows[kTaps][kPoints] = {};
      for (int f = 0; f < kPoints; ++f) {
        for (int e = 0; e < kPoints; ++e) {
          const Vec value = load(points + ((f * kPoints + e) * g.c + c) * g.o + o, AllLanes{});
          for (int k = 0; k < kTaps; ++k) rows[k][e] += kWeights.values[f][k] * value;
        }
      }
      for (int k = 0; k < kTaps; ++k) {
        for (int l = 0; l < kTaps; ++l) {
          Vec tap{};
          for (int e = 0; e < kPoints; ++e) tap += kWeights.values[e][l] * rows[k][e];
          store(a.grad_weight + ((k * kTaps + l) * s.c + c) * s.o + o, tap, lanes);
        }
      }
    }
  }
}

template <class T>
void grad_weight(const AwmsGradWeight& a) {
  Group g(a.shape, a.scratch);
  float* points = g.end();
  float* sums = points + kPoints * kPoints * g.c * g.o;
  for_each_group(g, [&] {
    transform_rows_of_input<T>(g, a.x);
    expand_rows_of_gradient<T>(g, a.grad);
    accumulate(g, points);
    sum_gradient<T>(g, a.grad, sums);
  });
  collect_taps(a, g, points);
  for (Index o = 0; o < a.shape.o; ++o) {
    double total = 0;
    for (Index i = 0; i < g.cut.segments; ++i) total += sums[i * g.o + o];
    a.grad_bias[o] = float(total);
  }
}

}  // namespace

void launch_awms_prepare(const AwmsWeights& a) {
  const Index margin = (kTaps - a.k) / 2;
#pragma omp parallel for num_threads(a.threads) schedule(static)
  for (Index c = 0; c < a.c_wide; ++c) {
    for (Index o = 0; o < a.o_wide; o += kLanes) {
      const SomeLanes lanes{int(c < a.c && o < a.o ? min_of(kLanes, a.o - o) : 0)};
      Vec columns[kTaps][kPoints] = {};  // [tap of the rows][point of the columns]
      for (Index k = 0; k < a.k; ++k) {
        for (Index l = 0; l < a.k; ++l) {
          const Vec tap = load(a.weight + ((k * a.k + l) * a.c + c) * a.o + o, lanes);
          for (int e = 0; e < kPoints; ++e) columns[k + margin][e] += kWeights.values[e][l + margin] * tap;
        }
      }
      for (int f = 0; f < kPoints; ++f) {
        Vec values[kPoints] = {};
        for (int k = 0; k < kTaps; ++k) {
#pragma GCC unroll 30
          for (int e = 0; e < kPoints; ++e) values[e] += kWeights.values[f][k] * columns[k][e];
        }
        for (int e = 0; e < kPoints; ++e) {
          store(a.points + ((f * kPoints + e) * a.c_wide + c) * a.o_wide + o, values[e], AllLanes{});
        }
      }
    }
  }
}

void launch_awms_conv(const AwmsConv& a) {
  if (a.shape.dtype == DType::bfloat16) {
    conv<bf16>(a);
  } else {
    conv<float>(a);
  }
}

void launch_awms_grad_weight(const AwmsGradWeight& a) {
  if (a.shape.dtype == DType::bfloat16) {
    grad_weight<bf16>(a);
  } else {
    grad_weight<float>(a);
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
