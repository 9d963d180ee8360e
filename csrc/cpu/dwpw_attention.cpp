// Depthwise 3x3 and pointwise convolution with pixel attention (eq. 3-6): y = sigmoid(W_a p + b_a) * p + residual for
// p = W_pw (depthwise x) + b_pw, and all its gradients.
//
// Algorithm: no intermediate map goes to memory. For maps in NCHW, here, a strip of rows keeps three rows of x and
// computes a tile of positions from the depthwise convolution to the output with channels as the products' rows
// (cpu/dwpw_attention_tile.h). Backward computes the tile's forward again, goes back through both products, and keeps
// three rows of the depthwise output's gradient for that of x. For channels_last see cpu/dwpw_attention_nhwc.h and
// cpu/dwpw_attention_nhwc_bwd.h.
//
// Parallel: OpenMP over strips of rows of all images. Strips depend on the shape alone; each leaves its sums for the
// weights' gradients in its own part of the workspace, and these are added in order.
//
// Memory: three rows of one map (two in backward) and a few tiles a thread; one set of weight gradients a strip.
#include "cpu/dwpw_attention.h"

#include "cpu/openmp.h"

#include "cpu/dwpw_attention_nhwc.h"
#include "cpu/dwpw_attention_nhwc_bwd.h"
#include "cpu/dwpw_attention_sums.h"
#include "cpu/dwpw_attention_tile.h"
#include "cpu/kernels.h"
#include "cpu/vec_math.h"

namespace awsrn_fast::AWSRN_FAST_ISA {
namespace {

struct FwdScratch {
  RowRing x;
  Tiles tiles;

  FwdScratch(Workspace& workspace, const Sizes& z)
      : x{workspace.take(RowRing::size(z.c, z.line)), z.c, z.line}, tiles(workspace, z) {}
};

template <class T>
void fwd_strip(const DwpwAttentionFwd& a, const Sizes& z, const FwdScratch& scratch, Index image, Index first) {
  const DwpwAttentionShape& s = a.shape;
  const T* x = static_cast<const T*>(a.x);
  const Tiles& t = scratch.tiles;
  const Index end = min_of(first + s.rows, s.h);
  read_row(s, x, image, first - 1, scratch.x);
  read_row(s, x, image, first, scratch.x);
  for (Index row = first; row < end; ++row) {
    read_row(s, x, image, row + 1, scratch.x);
    for (Index column = 0; column < s.w; column += z.tile) {
      const Index count = min_of(z.tile, s.w - column);
      const Run run = run_of(image, row, column, s.d, s.h, s.w);
      if (row + 1 < end) prefetch_row(s, x, image, row + 2, column, count);
      if (a.residual) prefetch_tile(static_cast<const T*>(a.residual), run, s.d, count);
      tile_forward(s, a.weights, z, scratch.x, row, column, t);
      if (a.residual) load_tile(static_cast<const T*>(a.residual), run, s.d, count, t.map, z.tile);
      for (Index i = 0; i < s.d * z.tile; i += kLanes) {
        Vec value = load(t.y + i, AllLanes{}) * gate_of(load(t.s + i, AllLanes{})).open;
        if (a.residual) value += load(t.map + i, AllLanes{});
        store(t.y + i, value, AllLanes{});
      }
      store_tile(static_cast<T*>(a.y), run, s.d, count, t.y, z.tile);
    }
  }
}

// What a strip adds up for the gradients of the weights; the products' rows are padded to whole vectors.
struct Sums {
  float *w_pw, *w_a;         // [D, padded C], [D, padded D]
  float *b_pw, *b_a, *w_dw;  // [D], [D], [C, 10]: nine weights and the bias

  Sums(Workspace& workspace, const DwpwAttentionShape& s, const Sizes& z)
      : w_pw(workspace.take(s.d * z.c)),
        w_a(workspace.take(s.d * z.d)),
        b_pw(workspace.take(s.d)),
        b_a(workspace.take(s.d)),
        w_dw(workspace.take(s.c * 10)) {}
};

struct BwdScratch {
  RowRing x, grad;  // grad: of the depthwise convolution's output
  Tiles tiles;
  float* transposed;         // [tile, C or D]
  float *b_pw, *b_a, *w_dw;  // as in Sums, a vector for each sum

  BwdScratch(Workspace& workspace, const DwpwAttentionShape& s, const Sizes& z)
      : x{workspace.take(RowRing::size(z.c, z.line)), z.c, z.line},
        grad{workspace.take(RowRing::size(z.c, z.line)), z.c, z.line},
        tiles(workspace, z),
        transposed(workspace.take((z.c > z.d ? z.c : z.d) * z.tile)),
        b_pw(workspace.take(s.d * kLanes)),
        b_a(workspace.take(s.d * kLanes)),
        w_dw(workspace.take(s.c * 10 * kLanes)) {}
};

inline void add_rows(const float* tile, Index rows, Index width, float* sums) {
  for (Index i = 0; i < rows; ++i) {
    Vec sum = load(sums + i * kLanes, AllLanes{});
    for (Index p = 0; p < width; p += kLanes) sum += load(tile + i * width + p, AllLanes{});
    store(sums + i * kLanes, sum, AllLanes{});
  }
}

// The gradient of the depthwise output for the tile at (row, column), into its row; the weights' into `sums`.
template <class T>
void tile_backward(const DwpwAttentionBwd& a, const Sizes& z, const BwdScratch& scratch, const Sums* sums, Index image,
                   Index row, Index column) {
  const DwpwAttentionShape& s = a.shape;
  const Tiles& t = scratch.tiles;
  const Index vecs = z.tile / kLanes;
  const Index count = min_of(z.tile, s.w - column);
  const Run run = run_of(image, row, column, s.d, s.h, s.w);
  prefetch_tile(static_cast<const T*>(a.grad_y), run, s.d, count);
  tile_forward(s, a.weights, z, scratch.x, row, column, t);
  for (Index i = 0; i < s.d * z.tile; i += kLanes) store(t.map + i, Vec{}, AllLanes{});
  load_tile(static_cast<const T*>(a.grad_y), run, s.d, count, t.map, z.tile);

  for (Index i = 0; i < s.d * z.tile; i += kLanes) {
    const Gate gate = gate_of(load(t.s + i, AllLanes{}));
    const Vec gated = load(t.map + i, AllLanes{}) * gate.open;
    store(t.map + i, gated, AllLanes{});
    // The sigmoid's slope, gate * (1 - gate), without the cancellation.
    store(t.s + i, gated * load(t.y + i, AllLanes{}) * (gate.e * gate.open), AllLanes{});
  }
  gemm(s.d, vecs, s.d, {a.w_a_t, s.d}, {t.s, z.tile}, t.map, z.tile, {nullptr, true});
  gemm(s.c, vecs, s.d, {a.w_pw_t, s.d}, {t.map, z.tile}, scratch.grad.inside(row, 0, column), z.line, {nullptr, false});
  if (!sums) return;
  transpose_tile(t.y, z.tile, z.d, z.tile, scratch.transposed, z.d);
  gemm(s.d, z.d / kLanes, z.tile, {t.s, z.tile}, {scratch.transposed, z.d}, sums->w_a, z.d, {nullptr, true});
  transpose_tile(t.depthwise, z.tile, z.c, z.tile, scratch.transposed, z.c);
  gemm(s.d, z.c / kLanes, z.tile, {t.map, z.tile}, {scratch.transposed, z.c}, sums->w_pw, z.c, {nullptr, true});
  add_rows(t.s, s.d, z.tile, scratch.b_a);
  add_rows(t.map, s.d, z.tile, scratch.b_pw);
}

void add_depthwise_row(const DwpwAttentionShape& s, const Sizes& z, const BwdScratch& scratch, Index row) {
  for (Index c = 0; c < s.c; ++c) {
    float* slot = scratch.w_dw + c * 10 * kLanes;
    Vec sums[10];
    for (int k = 0; k < 10; ++k) sums[k] = load(slot + k * kLanes, AllLanes{});
    const float *above = scratch.x.inside(row - 1, c, 0), *here = scratch.x.inside(row, c, 0),
                *below = scratch.x.inside(row + 1, c, 0), *grads = scratch.grad.inside(row, c, 0);
    for (Index p = 0; p < z.blocks * z.tile; p += kLanes) {
      const Vec grad = load(grads + p, AllLanes{});
      for (int k = 0; k < 3; ++k) {
        sums[k] += grad * load(above + p + k - 1, AllLanes{});
        sums[3 + k] += grad * load(here + p + k - 1, AllLanes{});
        sums[6 + k] += grad * load(below + p + k - 1, AllLanes{});
      }
      sums[9] += grad;
    }
    for (int k = 0; k < 10; ++k) store(slot + k * kLanes, sums[k], AllLanes{});
  }
}

inline void sum_lanes(const float* vectors, Index count, float* sums) {
  for (Index i = 0; i < count; ++i) sums[i] = sum(load(vectors + i * kLanes, AllLanes{}), AllLanes{});
}

template <class T>
void bwd_strip(const DwpwAttentionBwd& a, const Sizes& z, const BwdScratch& scratch, const Sums* sums, Index image,
               Index first) {
  const DwpwAttentionShape& s = a.shape;
  const T* x = static_cast<const T*>(a.x);
  const Index end = min_of(first + s.rows, s.h);
  // A row of grad_x needs the depthwise gradient's rows on either side: those outside the strip are computed again.
  const Index margin = a.grad_x ? 1 : 0;
  if (sums) {
    fill_zero(scratch.b_pw, s.d * kLanes);
    fill_zero(scratch.b_a, s.d * kLanes);
    fill_zero(scratch.w_dw, s.c * 10 * kLanes);
  }
  read_row(s, x, image, first - margin - 1, scratch.x);
  read_row(s, x, image, first - margin, scratch.x);
  for (Index row = first - margin; row < end + margin; ++row) {
    read_row(s, x, image, row + 1, scratch.x);
    const bool counts = sums && row >= first && row < end;
    if (row < 0 || row >= s.h) {
      scratch.grad.clear(row);
    } else {
      for (Index column = 0; column < s.w; column += z.tile) {
        if (row + 1 < end + margin) prefetch_row(s, x, image, row + 2, column, min_of(z.tile, s.w - column));
        tile_backward<T>(a, z, scratch, counts ? sums : nullptr, image, row, column);
      }
    }
    if (counts) add_depthwise_row(s, z, scratch, row);
    if (!a.grad_x || row <= first) continue;
    for (Index column = 0; column < s.w; column += z.tile) {
      const Index count = min_of(z.tile, s.w - column);
      depthwise<true>(scratch.grad, s.c, row - 1, column, z.tile, a.weights.w_dw, nullptr, scratch.tiles.depthwise);
      store_tile(static_cast<T*>(a.grad_x), run_of(image, row - 1, column, s.c, s.h, s.w), s.c, count,
                 scratch.tiles.depthwise, z.tile);
    }
  }
  if (sums) {
    sum_lanes(scratch.b_pw, s.d, sums->b_pw);
    sum_lanes(scratch.b_a, s.d, sums->b_a);
    sum_lanes(scratch.w_dw, s.c * 10, sums->w_dw);
  }
}

void give_weight_gradients(const DwpwAttentionBwd& a, const Sizes& z, Index strip) {
  const DwpwAttentionShape& s = a.shape;
  add_strips(a.partial, strip, s.n * z.strips);
  Workspace workspace{a.partial};
  const Sums sums(workspace, s, z);
  copy_rows(sums.w_pw, z.c, s.d, s.c, a.grad_w_pw);
  copy_rows(sums.w_a, z.d, s.d, s.d, a.grad_w_a);
  copy_rows(sums.b_pw, 1, s.d, 1, a.grad_b_pw);
  copy_rows(sums.b_a, 1, s.d, 1, a.grad_b_a);
  copy_rows(sums.w_dw, 10, s.c, 9, a.grad_w_dw);
  copy_rows(sums.w_dw + 9, 10, s.c, 1, a.grad_b_dw);
}

template <class T>
void fwd(const DwpwAttentionFwd& a) {
  const Sizes z(a.shape);
  const Index items = a.shape.n * z.strips, per_thread = dwpw_attention_fwd_workspace(a.shape).thread;
#pragma omp parallel for num_threads(a.shape.threads) schedule(dynamic) if (items > 1)
  for (Index item = 0; item < items; ++item) {
    Workspace workspace{a.scratch + omp_get_thread_num() * per_thread};
    fwd_strip<T>(a, z, FwdScratch(workspace, z), item / z.strips, item % z.strips * a.shape.rows);
  }
}

template <class T>
void bwd(const DwpwAttentionBwd& a) {
  const Sizes z(a.shape);
  const Index items = a.shape.n * z.strips;
  const DwpwAttentionWorkspace needs = dwpw_attention_bwd_workspace(a.shape);
#pragma omp parallel for num_threads(a.shape.threads) schedule(dynamic) if (items > 1)
  for (Index item = 0; item < items; ++item) {
    Workspace workspace{a.scratch + omp_get_thread_num() * needs.thread};
    Workspace strip{a.partial ? a.partial + item * needs.strip : nullptr};
    const BwdScratch scratch(workspace, a.shape, z);
    const Sums sums(strip, a.shape, z);
    bwd_strip<T>(a, z, scratch, a.partial ? &sums : nullptr, item / z.strips, item % z.strips * a.shape.rows);
  }
  if (a.partial) give_weight_gradients(a, z, needs.strip);
}

}  // namespace

DwpwAttentionWorkspace dwpw_attention_fwd_workspace(const DwpwAttentionShape& s) {
  Workspace workspace{nullptr}, shared{nullptr};
  if (s.channels_last) {
    const PackedWeights weights(shared, s, false);
    const NhwcFwdScratch counted(workspace, weights);
  } else {
    const FwdScratch counted(workspace, Sizes(s));
  }
  return {workspace.used, 0, shared.used};
}

DwpwAttentionWorkspace dwpw_attention_bwd_workspace(const DwpwAttentionShape& s) {
  Workspace workspace{nullptr}, strip{nullptr}, shared{nullptr};
  if (s.channels_last) {
    const PackedWeights weights(shared, s, true);
    const NhwcBwdScratch counted(workspace, s, weights);
    const NhwcSums sums(strip, weights), unwanted(workspace, weights);
    return {workspace.used, strip.used, shared.used};
  }
  const Sizes z(s);
  const BwdScratch counted(workspace, s, z);
  const Sums sums(strip, s, z);
  return {workspace.used, strip.used, 0};
}

void launch_dwpw_attention_fwd(const DwpwAttentionFwd& a) {
  const bool half = a.shape.dtype == DType::bfloat16;
  if (a.shape.channels_last) {
    half ? fwd_nhwc<bf16>(a) : fwd_nhwc<float>(a);
  } else {
    half ? fwd<bf16>(a) : fwd<float>(a);
  }
}

void launch_dwpw_attention_bwd(const DwpwAttentionBwd& a) {
  const bool half = a.shape.dtype == DType::bfloat16;
  if (a.shape.channels_last) {
    half ? bwd_nhwc<bf16>(a) : bwd_nhwc<float>(a);
  } else {
    half ? bwd<bf16>(a) : bwd<float>(a);
  }
}

}  // namespace awsrn_fast::AWSRN_FAST_ISA
