// The Python module awsrn_fast._cpu: the table of contents of the CPU launchers. Tensors come as addresses (0 for
// None) and sizes, and the caller keeps them alive; awsrn_fast/ops/<op>/autograd.py is the only caller.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "common/check.h"
#include "common/tiles.h"
#include "cpu/awms_cut.h"
#include "dispatch.h"

namespace py = pybind11;
using namespace awsrn_fast;
using Address = std::uintptr_t;

namespace {

template <class T = void>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

GatedResidualShape gated_residual_shape(std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last, int dtype,
                                        int threads) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 0 && hw >= 0, "gated_residual: a size is negative");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "gated_residual: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "gated_residual: threads must be at least 1");
  const ReductionCut cut = cut_for_reduction(hw, channels_last ? c : 1);
  return {n, c, hw, channels_last, DType(dtype), cut.chunk, cut.chunks, threads};
}

void gated_residual_fwd(Address x, Address f, Address gate, Address x_scale, Address res_scale, Address y, Address mean,
                        std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last, int dtype, int threads) {
  const GatedResidualShape shape = gated_residual_shape(n, c, hw, channels_last, dtype, threads);
  std::vector<float> partial(n * c * shape.chunks);
  kernels().gated_residual_fwd({shape, pointer(x), pointer(f), pointer<float>(gate), pointer<float>(x_scale),
                                pointer<float>(res_scale), pointer(y), pointer<float>(mean), partial.data()});
}

void gated_residual_bwd(Address grad_y, Address grad_mean, Address x, Address f, Address gate, Address x_scale,
                        Address res_scale, Address grad_x, Address grad_f, Address grad_gate, Address grad_x_scale,
                        Address grad_res_scale, std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last,
                        int dtype, int threads) {
  const bool empty = n * c * hw == 0;  // an empty tensor has no address
  AWSRN_FAST_CHECK(x || empty || !grad_x_scale, "gated_residual: grad_x_scale needs x");
  AWSRN_FAST_CHECK(f || empty || !(grad_gate || grad_res_scale), "gated_residual: grad_gate, grad_res_scale need f");
  const GatedResidualShape shape = gated_residual_shape(n, c, hw, channels_last, dtype, threads);
  std::vector<double> partial(2 * n * c * shape.chunks);
  kernels().gated_residual_bwd({shape, pointer(grad_y), pointer<float>(grad_mean), pointer(x), pointer(f),
                                pointer<float>(gate), pointer<float>(x_scale), pointer<float>(res_scale),
                                pointer(grad_x), pointer(grad_f), pointer<float>(grad_gate),
                                pointer<float>(grad_x_scale), pointer<float>(grad_res_scale), partial.data()});
}

// Whether buffers start as NaN, so that tests see what is read before it was written.
bool poisoned = false;

// Floats that nobody has written yet, from a whole cache line on: rows of vectors then never straddle two.
class Buffer {
 public:
  explicit Buffer(std::int64_t count) : floats_(new float[count + kLine]) {
    if (poisoned) std::fill_n(floats_.get(), count + kLine, std::numeric_limits<float>::quiet_NaN());
  }
  float* data() const {
    const auto address = reinterpret_cast<Address>(floats_.get());
    return floats_.get() + (kLine * sizeof(float) - address % (kLine * sizeof(float))) / sizeof(float);
  }

 private:
  static constexpr std::int64_t kLine = 16;
  std::unique_ptr<float[]> floats_;
};

// Zeros instead.
class Scratch : public Buffer {
 public:
  explicit Scratch(std::int64_t count) : Buffer(count) { std::fill_n(data(), count, 0.0f); }
};

// Weight gradients are summed up in at most so many parts, whatever the threads: results keep their bits.
constexpr std::int64_t kSlots = 8;

std::int64_t padded(std::int64_t channels, std::int64_t vector) { return ceil_div(channels, vector) * vector; }

DwpwAttentionShape dwpw_attention_shape(std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w,
                                        bool channels_last, int dtype, int threads, std::int64_t rows) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 0 && d >= 0 && h >= 0 && w >= 0, "dwpw_attention: a size is negative");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "dwpw_attention: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "dwpw_attention: threads must be at least 1");
  // Strips of equal height, as near to `rows` as may be.
  const std::int64_t strips = std::max<std::int64_t>(1, (h + rows / 2) / rows);
  return {n, c, d, h, w, channels_last, DType(dtype), ceil_div(h, strips), threads};
}

void dwpw_attention_fwd(Address x, Address w_dw, Address b_dw, Address w_pw, Address b_pw, Address w_a, Address b_a,
                        Address residual, Address y, std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h,
                        std::int64_t w, bool channels_last, int dtype, int threads) {
  const DwpwAttentionShape shape = dwpw_attention_shape(n, c, d, h, w, channels_last, dtype, threads, 8);
  const DwpwAttentionWorkspace needs = kernels().dwpw_attention_fwd_workspace(shape);
  Scratch scratch(threads * needs.thread + needs.shared);
  const DwpwAttentionWeights weights{pointer<float>(w_dw), pointer<float>(b_dw), pointer<float>(w_pw),
                                     pointer<float>(b_pw), pointer<float>(w_a),  pointer<float>(b_a)};
  kernels().dwpw_attention_fwd({shape, pointer(x), weights, pointer(residual), pointer(y), scratch.data()});
}

void dwpw_attention_bwd(Address grad_y, Address x, Address w_dw, Address b_dw, Address w_pw, Address b_pw, Address w_a,
                        Address b_a, Address w_pw_t, Address w_a_t, Address grad_x, Address grad_w_dw,
                        Address grad_b_dw, Address grad_w_pw, Address grad_b_pw, Address grad_w_a, Address grad_b_a,
                        std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w,
                        bool channels_last, int dtype, int threads) {
  // Two rows more than a strip has are computed for it: strips four times as high as forward's.
  const DwpwAttentionShape shape = dwpw_attention_shape(n, c, d, h, w, channels_last, dtype, threads, 32);
  const DwpwAttentionWorkspace needs = kernels().dwpw_attention_bwd_workspace(shape);
  const std::int64_t strips = std::max<std::int64_t>(1, shape.rows ? n * ceil_div(h, shape.rows) : 0);
  const bool weighted = grad_w_dw;
  Scratch scratch(threads * needs.thread + needs.shared), partial(weighted ? strips * needs.strip : 0);
  const DwpwAttentionWeights weights{pointer<float>(w_dw), pointer<float>(b_dw), pointer<float>(w_pw),
                                     pointer<float>(b_pw), pointer<float>(w_a),  pointer<float>(b_a)};
  kernels().dwpw_attention_bwd({shape, pointer(grad_y), pointer(x), weights, pointer<float>(w_pw_t),
                                pointer<float>(w_a_t), pointer(grad_x), pointer<float>(grad_w_dw),
                                pointer<float>(grad_b_dw), pointer<float>(grad_w_pw), pointer<float>(grad_b_pw),
                                pointer<float>(grad_w_a), pointer<float>(grad_b_a), scratch.data(),
                                weighted ? partial.data() : nullptr});
}

NonLocalShape non_local_shape(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t d, std::int64_t block,
                              std::int64_t halo, int dtype, int threads) {
  AWSRN_FAST_CHECK(n >= 0 && h >= 0 && w >= 0 && d >= 0, "non_local: a size is negative");
  AWSRN_FAST_CHECK(block >= 1 && halo >= 0, "non_local: block must be at least 1 and halo at least 0");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "non_local: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "non_local: threads must be at least 1");
  // Two tiles of scores, the rows, and five maps of D channels by the tile's positions, one of them in whole vectors.
  const std::int64_t wide = padded(d, kNonLocalVector), most = dtype ? kNonLocalRowsOfBf16 : kNonLocalRows;
  const std::int64_t scratch =
      most * 2 * kNonLocalTile + kNonLocalRows * 2 * wide + (4 * d + wide) * kNonLocalTile;
  // Enough work to share out among some threads; each group costs another set of query gradients.
  const std::int64_t blocks = std::max<std::int64_t>(1, n * ceil_div(h, block) * ceil_div(w, block));
  const std::int64_t groups = std::clamp<std::int64_t>(32 / blocks, 1, 8);
  const std::int64_t rows = std::min(most, padded(std::min(block, h) * std::min(block, w), kNonLocalRowsAtOnce));
  return {n, h, w, d, block, halo, scratch, groups, rows, wide, DType(dtype), threads};
}

void non_local_fwd(Address qkv, Address attended, Address softmax, std::int64_t n, std::int64_t h, std::int64_t w,
                   std::int64_t d, std::int64_t block, std::int64_t halo, int dtype, int threads) {
  const NonLocalShape shape = non_local_shape(n, h, w, d, block, halo, dtype, threads);
  const Buffer scratch(threads * shape.scratch);
  kernels().non_local_fwd({shape, pointer(qkv), pointer(attended), pointer<float>(softmax), scratch.data()});
}

void non_local_bwd(Address grad, Address qkv, Address attended, Address softmax, Address grad_qkv, std::int64_t n,
                   std::int64_t h, std::int64_t w, std::int64_t d, std::int64_t block, std::int64_t halo, int dtype,
                   int threads) {
  const NonLocalShape shape = non_local_shape(n, h, w, d, block, halo, dtype, threads);
  const std::int64_t blocks = n * ceil_div(h, block) * ceil_div(w, block);
  const std::int64_t keys = std::min(block + 2 * halo, h) * std::min(block + 2 * halo, w);
  const std::int64_t queries = std::min(block, h) * std::min(block, w);
  const std::int64_t rows = shape.rows ? blocks * padded(queries, shape.rows) : 0;
  const Buffer scratch(threads * shape.scratch), packed(rows * 2 * shape.wide), statistics(rows * kNonLocalStatistics);
  const Buffer partial_keys(blocks * keys * 2 * d), partial_queries(blocks * shape.groups * queries * shape.wide);
  kernels().non_local_bwd({shape, pointer(grad), pointer(qkv), pointer(attended), pointer<float>(softmax),
                           pointer(grad_qkv), packed.data(), statistics.data(), partial_keys.data(),
                           partial_queries.data(), scratch.data()});
}

AwmsShape awms_shape(std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int dtype,
                     int threads) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 0 && o >= 0 && h >= 0 && w >= 0, "awms: a size is negative");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "awms: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "awms: threads must be at least 1");
  return {n, c, o, h, w, DType(dtype), threads, awms_cut(n, c, o, h, w)};
}

std::int64_t awms_points_size(std::int64_t c, std::int64_t o) {
  return kAwmsPoints * kAwmsPoints * awms_wide(c) * awms_wide(o);
}

// [k, k, C, O] -> the weights at 30 x 30 points.
void awms_prepare(Address weight, std::int64_t k, Address points, std::int64_t c, std::int64_t o, int threads) {
  AWSRN_FAST_CHECK(k % 2 == 1 && k <= kAwmsTaps, "awms: the kernel's side must be odd and at most 9");
  kernels().awms_prepare({pointer<float>(weight), k, c, o, awms_wide(c), awms_wide(o), pointer<float>(points), threads});
}

void awms_run(const AwmsShape& shape, Address x, const float* points, const AwmsOutput& out) {
  const Buffer scratch(awms_scratch(shape, false));
  kernels().awms_conv({shape, pointer(x), points, out, scratch.data()});
}

// The convolution alone, in the maps' layout: the gradient of the input is one, too.
void awms_conv(Address x, Address weight, std::int64_t k, Address y, std::int64_t n, std::int64_t c, std::int64_t o,
               std::int64_t h, std::int64_t w, int dtype, int threads) {
  const AwmsShape shape = awms_shape(n, c, o, h, w, dtype, threads);
  const AwmsOutput out{pointer(y), nullptr, 0, 0, 0, nullptr, nullptr, 1, false, false};
  const Buffer points(awms_points_size(c, o));
  awms_prepare(weight, k, Address(points.data()), c, o, threads);
  awms_run(shape, x, points.data(), out);
}

// The weight as such, or 0 and its points.
void awms_fwd(Address x, Address weight, Address points, Address shift, Address skip, Address y, std::int64_t k,
              std::int64_t scale, float out_scale, bool clamp, bool levels, bool channels_last, std::int64_t n,
              std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int dtype, int threads) {
  AWSRN_FAST_CHECK(scale >= 1 && o % (scale * scale) == 0, "awms: the square of scale must divide o");
  const std::int64_t planes = o / (scale * scale), wide = w * scale, high = h * scale;
  // Of the output, from one value to the next: plane, row, column.
  const std::int64_t plane = channels_last ? 1 : high * wide, row = channels_last ? wide * planes : wide;
  const std::int64_t column = channels_last ? planes : 1;
  std::vector<std::int64_t> offset(o);
  for (std::int64_t i = 0; i < o; ++i) {
    offset[i] = i / (scale * scale) * plane + i / scale % scale * row + i % scale * column;
  }
  const AwmsOutput out{pointer(y),     offset.data(), planes * high * wide, scale * row, scale * column, pointer<float>(shift),
                       pointer(skip), out_scale,     clamp,         levels};
  const Buffer made(weight ? awms_points_size(c, o) : 0);
  if (weight) awms_prepare(weight, k, Address(made.data()), c, o, threads);
  awms_run(awms_shape(n, c, o, h, w, dtype, threads), x, weight ? made.data() : pointer<float>(points), out);
}

void awms_grad_weight(Address x, Address grad, Address grad_weight, Address grad_bias, std::int64_t n, std::int64_t c,
                      std::int64_t o, std::int64_t h, std::int64_t w, int dtype, int threads) {
  const AwmsShape shape = awms_shape(n, c, o, h, w, dtype, threads);
  const Buffer scratch(awms_scratch(shape, true));
  kernels().awms_grad_weight({shape, pointer(x), pointer(grad), pointer<float>(grad_weight), pointer<float>(grad_bias),
                              scratch.data()});
}

Conv3x3Shape conv3x3_shape(std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int dtype,
                           int threads) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 0 && o >= 0 && h >= 0 && w >= 0, "conv3x3: a size is negative");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "conv3x3: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "conv3x3: threads must be at least 1");
  return {n, c, o, h, w, DType(dtype), threads, padded(c, kConv3x3Vector), padded(o, kConv3x3Vector)};
}

Buffer padded_bias(Address bias, std::int64_t size, std::int64_t wide) {
  Buffer buffer(wide);
  std::fill_n(buffer.data(), wide, 0.0f);
  if (bias) std::copy_n(pointer<float>(bias), size, buffer.data());
  return buffer;
}

LinearShape linear_shape(std::int64_t rows, std::int64_t c, std::int64_t o, int dtype, int threads) {
  AWSRN_FAST_CHECK(rows >= 0 && c >= 1 && o >= 1, "linear: a size is too small");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "linear: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "linear: threads must be at least 1");
  return {rows, c, o, DType(dtype), threads, padded(c, kLinearVector), padded(o, kLinearVector)};
}

void linear_fwd(Address x, Address weight, Address bias, Address residual, Address y, std::int64_t rows, std::int64_t c,
                std::int64_t o, int dtype, int threads) {
  const LinearShape shape = linear_shape(rows, c, o, dtype, threads);
  const Buffer wide_bias = padded_bias(bias, o, shape.o_wide), packed(c * shape.o_wide);
  const Buffer scratch(threads * kLinearTile * (shape.c_wide + shape.o_wide));
  kernels().linear_fwd({shape, pointer(x), pointer<float>(weight), wide_bias.data(), pointer(residual), pointer(y),
                        packed.data(), scratch.data()});
}

void linear_grad_weight(Address x, Address grad, Address grad_weight, Address grad_bias, std::int64_t rows,
                        std::int64_t c, std::int64_t o, int dtype, int threads) {
  const LinearShape shape = linear_shape(rows, c, o, dtype, threads);
  const std::int64_t slots = std::clamp<std::int64_t>(ceil_div(rows, 1024), 1, 64), products = shape.c_wide * shape.o_wide;
  const Buffer partial(slots * (products + shape.o_wide));
  const Buffer scratch(threads * (kLinearTile * (shape.c_wide + shape.o_wide) + products));
  kernels().linear_grad_weight({shape, pointer(x), pointer(grad), pointer<float>(grad_weight),
                                pointer<float>(grad_bias), slots, partial.data(), scratch.data()});
}

// Floats of a weight's gradient at 36 points, [36, wide C, wide O].
std::int64_t conv3x3_points_size(std::int64_t c, std::int64_t o) {
  return kConv3x3Points * padded(c, kConv3x3Vector) * padded(o, kConv3x3Vector);
}

std::int64_t conv3x3_prepared_size(std::int64_t c, std::int64_t o) { return kernels().conv3x3_prepared_size(c, o); }

// [3, 3, C, O] -> the weights as the kernels take them.
void conv3x3_prepare(Address weight, Address prepared, std::int64_t c, std::int64_t o, int threads) {
  AWSRN_FAST_CHECK(c >= 0 && o >= 0 && threads >= 1, "conv3x3: a size is negative, or there is no thread");
  kernels().conv3x3_prepare({pointer<float>(weight), pointer<float>(prepared), c, o, threads});
}

Buffer conv3x3_prepared(Address weight, std::int64_t c, std::int64_t o, int threads) {
  Buffer prepared(conv3x3_prepared_size(c, o));
  conv3x3_prepare(weight, Address(prepared.data()), c, o, threads);
  return prepared;
}

using MapAddresses = std::vector<std::pair<Address, std::int64_t>>;  // with the channels of each

Conv3x3Maps conv3x3_maps(const MapAddresses& given, const Conv3x3Shape& shape) {
  AWSRN_FAST_CHECK(!given.empty() && given.size() <= kConv3x3Maps, "conv3x3: one to four maps");
  Conv3x3Maps maps{int(given.size()), {}, {}};
  std::int64_t channels = 0;
  for (int i = 0; i < maps.count; ++i) {
    maps.map[i] = pointer(given[i].first);
    channels += maps.channels[i] = given[i].second;
    AWSRN_FAST_CHECK(maps.count == 1 || maps.channels[i] % kConv3x3Vector == 0, "conv3x3: a map's channels");
  }
  AWSRN_FAST_CHECK(channels == shape.c, "conv3x3: the maps' channels are not the weight's");
  return maps;
}

// Weights as such, or 0 and prepared.
void conv3x3_fwd(const MapAddresses& x, Address weight, Address prepared, Address bias, Address y, std::int64_t n,
                 std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int dtype, int threads) {
  const Conv3x3Shape shape = conv3x3_shape(n, c, o, h, w, dtype, threads);
  const Buffer made = weight ? conv3x3_prepared(weight, c, o, threads) : Buffer(0);
  const Buffer wide_bias = padded_bias(bias, o, shape.o_wide);
  const Buffer scratch(threads * kernels().conv3x3_scratch(shape));
  kernels().conv3x3_fwd({shape, conv3x3_maps(x, shape), weight ? made.data() : pointer<float>(prepared),
                         wide_bias.data(), pointer(y), scratch.data()});
}

void conv3x3_grad_weight(const MapAddresses& x, Address grad, Address grad_weight, Address grad_bias, std::int64_t n,
                         std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int dtype, int threads) {
  const Conv3x3Shape shape = conv3x3_shape(n, c, o, h, w, dtype, threads);
  const std::int64_t slots = std::clamp<std::int64_t>(n * ceil_div(h, 16), 1, kSlots);
  const Buffer partial(slots * (conv3x3_points_size(c, o) + shape.o_wide));
  const Buffer scratch(threads * kernels().conv3x3_scratch(shape));
  kernels().conv3x3_grad_weight({shape, conv3x3_maps(x, shape), pointer(grad), pointer<float>(grad_weight),
                                 pointer<float>(grad_bias), slots, partial.data(), scratch.data()});
}

GatedPairShape gated_pair_shape(std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t hw, int dtype,
                                int threads) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 1 && o >= 1 && hw >= 0, "gated_pair: a size is too small");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "gated_pair: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "gated_pair: threads must be at least 1");
  return {n, c, o, hw, DType(dtype), threads, padded(c, kPairVector), padded(o, kPairVector)};
}

void gated_pair_fwd(Address x0, Address x1, Address gate, Address weight, Address bias, Address y, std::int64_t n,
                    std::int64_t c, std::int64_t o, std::int64_t hw, int dtype, int threads) {
  const GatedPairShape shape = gated_pair_shape(n, c, o, hw, dtype, threads);
  const Buffer wide_bias = padded_bias(bias, o, shape.o_wide), folded(n * 2 * shape.c_wide * shape.o_wide);
  const Buffer scratch(threads * kernels().gated_pair_scratch(shape));
  kernels().gated_pair_fwd({shape, {pointer(x0), pointer(x1)}, pointer<float>(gate), pointer<float>(weight),
                            wide_bias.data(), pointer(y), folded.data(), scratch.data()});
}

void gated_pair_bwd(Address grad_y, Address y, Address x0, Address x1, Address gate, Address weight, Address grad_x0,
                    Address grad_x1, Address grad_gate, Address grad_weight, Address grad_bias, std::int64_t n,
                    std::int64_t c, std::int64_t o, std::int64_t hw, int dtype, int threads) {
  const GatedPairShape shape = gated_pair_shape(n, c, o, hw, dtype, threads);
  AWSRN_FAST_CHECK(!grad_weight == !grad_bias && (grad_weight || !grad_gate), "gated_pair: sums come together");
  const std::int64_t slots = std::clamp<std::int64_t>(ceil_div(hw, 1024), 1, 64);
  const Buffer partial(grad_weight ? n * slots * (2 * shape.c_wide + 1) * shape.o_wide : 0);
  const Buffer folded(n * shape.o_wide * 2 * shape.c_wide), scratch(threads * kernels().gated_pair_scratch(shape));
  kernels().gated_pair_bwd({shape,
                            pointer(grad_y),
                            pointer(y),
                            {pointer(x0), pointer(x1)},
                            pointer<float>(gate),
                            pointer<float>(weight),
                            {pointer(grad_x0), pointer(grad_x1)},
                            pointer<float>(grad_gate),
                            pointer<float>(grad_weight),
                            pointer<float>(grad_bias),
                            slots,
                            partial.data(),
                            folded.data(),
                            scratch.data()});
}

// Segments of each of `panels` panels of `down` rows of tiles, at least four in each: as many as give `items` in all.
std::int64_t segments_for_items(std::int64_t items, std::int64_t panels, std::int64_t down) {
  return std::clamp<std::int64_t>(ceil_div(items, std::max<std::int64_t>(1, panels)), 1, std::max<std::int64_t>(1, down / 4));
}

// Likewise: as many as end soonest. A segment computes two rows more of the wide map, which cost as much as one of both.
std::int64_t segments_for_threads(std::int64_t threads, std::int64_t panels, std::int64_t down) {
  std::int64_t best = 1, least = ceil_div(panels, threads) * down;
  for (std::int64_t segments = 2; segments <= down / 4; ++segments) {
    const std::int64_t time = ceil_div(panels * segments, threads) * (ceil_div(down, segments) + 1);
    if (time >= least) continue;
    best = segments;
    least = time;
  }
  return best;
}

using Segments = std::int64_t (*)(std::int64_t items_or_threads, std::int64_t panels, std::int64_t down);

WideResidualShape wide_residual_shape(std::int64_t n, std::int64_t c, std::int64_t k, std::int64_t h, std::int64_t w,
                                      int dtype, int threads, Segments segments_for, std::int64_t items) {
  AWSRN_FAST_CHECK(n >= 0 && c >= 0 && k >= 0 && h >= 0 && w >= 0, "wide_residual: a size is negative");
  AWSRN_FAST_CHECK(dtype == int(DType::float32) || dtype == int(DType::bfloat16), "wide_residual: unknown dtype");
  AWSRN_FAST_CHECK(threads >= 1, "wide_residual: threads must be at least 1");
  const std::int64_t panels = std::max<std::int64_t>(1, ceil_div(w, 4 * kWideChunk));
  return {n, c, k, h, w, DType(dtype), threads, padded(c, kConv3x3Vector), padded(k, kConv3x3Vector), panels,
          segments_for(items, n * panels, ceil_div(h, 4))};
}

// Both weights as such, or 0 and prepared, one after the other.
void wide_residual_fwd(Address x, Address weight1, Address weight2, Address prepared, Address bias1, Address bias2,
                       Address gate, Address x_scale, Address res_scale, Address y, Address f, Address mean, std::int64_t n, std::int64_t c,
                       std::int64_t k, std::int64_t h, std::int64_t w, int dtype, int threads) {
  const WideResidualShape shape = wide_residual_shape(n, c, k, h, w, dtype, threads, segments_for_threads, threads);
  const Buffer wide1 = padded_bias(bias1, k, shape.k_wide), wide2 = padded_bias(bias2, c, shape.c_wide);
  const Buffer partial(n * ceil_div(h, 4) * shape.panels * shape.c_wide);
  const Buffer scratch(threads * kernels().wide_residual_fwd_scratch(shape));
  const Buffer made1 = weight1 ? conv3x3_prepared(weight1, c, k, threads) : Buffer(0);
  const Buffer made2 = weight2 ? conv3x3_prepared(weight2, k, c, threads) : Buffer(0);
  const float* weights1 = weight1 ? made1.data() : pointer<float>(prepared);
  const float* weights2 = weight2 ? made2.data() : pointer<float>(prepared) + conv3x3_prepared_size(c, k);
  kernels().wide_residual_fwd({shape, pointer(x), weights1, wide1.data(), weights2, wide2.data(), pointer<float>(gate), pointer<float>(x_scale), pointer<float>(res_scale),
                               pointer(y), pointer(f), pointer<float>(mean), partial.data(), scratch.data()});
}

// weight1 and back1 are the first convolution's weights as such and for its input's gradient, back2 the second's.
void wide_residual_bwd(Address x, Address grad, Address weight1, Address bias1, Address back1, Address back2,
                       Address grad_x, Address grad_w1, Address grad_b1, Address grad_w2, Address grad_b2,
                       std::int64_t n, std::int64_t c, std::int64_t k, std::int64_t h, std::int64_t w, int dtype,
                       int threads) {
  const WideResidualShape shape = wide_residual_shape(n, c, k, h, w, dtype, threads, segments_for_items, kSlots);
  const Buffer weights1 = conv3x3_prepared(weight1, c, k, threads), weights2_back = conv3x3_prepared(back2, c, k, threads);
  const Buffer weights1_back = conv3x3_prepared(back1, k, c, threads), wide1 = padded_bias(bias1, k, shape.k_wide);
  const std::int64_t slots = std::clamp<std::int64_t>(n * shape.panels * shape.segments, 1, kSlots);
  const std::int64_t products = grad_w1 ? conv3x3_points_size(c, k) : 0;
  const Buffer partial1(slots * (products + shape.k_wide)), partial2(slots * (products + shape.c_wide));
  const Buffer scratch(threads * kernels().wide_residual_bwd_scratch(shape));
  kernels().wide_residual_bwd({shape, pointer(x), pointer(grad), weights1.data(), wide1.data(), weights2_back.data(),
                               weights1_back.data(), pointer(grad_x), pointer<float>(grad_w1), pointer<float>(grad_b1),
                               pointer<float>(grad_w2), pointer<float>(grad_b2), slots, partial1.data(),
                               partial2.data(), scratch.data()});
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.attr("build_id") = AWSRN_FAST_BUILD_ID;
  m.attr("FLOAT32") = int(DType::float32);
  m.attr("BFLOAT16") = int(DType::bfloat16);

  m.def("available_isas", &available_isas, "Instruction sets that this library holds and this CPU runs.");
  m.def("isa", [] { return std::string(kernels().isa); }, "The instruction set in use.");
  m.def("set_isa", &set_isa, py::arg("name"), "Use another of available_isas(); ValueError names them.");

  m.def("poison", [](bool on) { poisoned = on; }, py::arg("on"), "For tests: scratch starts as NaN.");

  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.def("gated_residual_fwd", &gated_residual_fwd, no_gil, py::arg("x"), py::arg("f"), py::arg("gate"),
        py::arg("x_scale"), py::arg("res_scale"), py::arg("y"), py::arg("mean"), py::arg("n"), py::arg("c"),
        py::arg("hw"), py::arg("channels_last"), py::arg("dtype"), py::arg("threads"));
  m.def("gated_residual_bwd", &gated_residual_bwd, no_gil, py::arg("grad_y"), py::arg("grad_mean"), py::arg("x"),
        py::arg("f"), py::arg("gate"), py::arg("x_scale"), py::arg("res_scale"), py::arg("grad_x"), py::arg("grad_f"),
        py::arg("grad_gate"), py::arg("grad_x_scale"), py::arg("grad_res_scale"), py::arg("n"), py::arg("c"),
        py::arg("hw"), py::arg("channels_last"), py::arg("dtype"), py::arg("threads"));
  m.def("dwpw_attention_fwd", &dwpw_attention_fwd, no_gil, py::arg("x"), py::arg("w_dw"), py::arg("b_dw"),
        py::arg("w_pw"), py::arg("b_pw"), py::arg("w_a"), py::arg("b_a"), py::arg("residual"), py::arg("y"),
        py::arg("n"), py::arg("c"), py::arg("d"), py::arg("h"), py::arg("w"), py::arg("channels_last"),
        py::arg("dtype"), py::arg("threads"));
  m.def("dwpw_attention_bwd", &dwpw_attention_bwd, no_gil, py::arg("grad_y"), py::arg("x"), py::arg("w_dw"),
        py::arg("b_dw"), py::arg("w_pw"), py::arg("b_pw"), py::arg("w_a"), py::arg("b_a"), py::arg("w_pw_t"),
        py::arg("w_a_t"), py::arg("grad_x"), py::arg("grad_w_dw"), py::arg("grad_b_dw"), py::arg("grad_w_pw"),
        py::arg("grad_b_pw"), py::arg("grad_w_a"), py::arg("grad_b_a"), py::arg("n"), py::arg("c"), py::arg("d"),
        py::arg("h"), py::arg("w"), py::arg("channels_last"), py::arg("dtype"), py::arg("threads"));
  m.def("linear_fwd", &linear_fwd, no_gil, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("residual"),
        py::arg("y"), py::arg("rows"), py::arg("c"), py::arg("o"), py::arg("dtype"), py::arg("threads"));
  m.def("linear_grad_weight", &linear_grad_weight, no_gil, py::arg("x"), py::arg("grad"), py::arg("grad_weight"),
        py::arg("grad_bias"), py::arg("rows"), py::arg("c"), py::arg("o"), py::arg("dtype"), py::arg("threads"));
  m.def("non_local_fwd", &non_local_fwd, no_gil, py::arg("qkv"), py::arg("attended"), py::arg("softmax"), py::arg("n"),
        py::arg("h"), py::arg("w"), py::arg("d"), py::arg("block"), py::arg("halo"), py::arg("dtype"),
        py::arg("threads"));
  m.def("non_local_bwd", &non_local_bwd, no_gil, py::arg("grad"), py::arg("qkv"), py::arg("attended"),
        py::arg("softmax"), py::arg("grad_qkv"), py::arg("n"), py::arg("h"), py::arg("w"), py::arg("d"),
        py::arg("block"), py::arg("halo"), py::arg("dtype"), py::arg("threads"));
  m.def("awms_conv", &awms_conv, no_gil, py::arg("x"), py::arg("weight"), py::arg("k"), py::arg("y"), py::arg("n"),
        py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("threads"));
  m.def("awms_points_size", &awms_points_size, py::arg("c"), py::arg("o"), "Floats of the transformed weight.");
  m.def("awms_prepare", &awms_prepare, no_gil, py::arg("weight"), py::arg("k"), py::arg("points"), py::arg("c"),
        py::arg("o"), py::arg("threads"));
  m.def("awms_fwd", &awms_fwd, no_gil, py::arg("x"), py::arg("weight"), py::arg("points"), py::arg("shift"),
        py::arg("skip"), py::arg("y"), py::arg("k"), py::arg("scale"), py::arg("out_scale"), py::arg("clamp"), py::arg("levels"), py::arg("channels_last"),
        py::arg("n"), py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("threads"));
  m.def("awms_grad_weight", &awms_grad_weight, no_gil, py::arg("x"), py::arg("grad"), py::arg("grad_weight"),
        py::arg("grad_bias"), py::arg("n"), py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"), py::arg("dtype"),
        py::arg("threads"));
  m.def("conv3x3_prepared_size", &conv3x3_prepared_size, py::arg("c"), py::arg("o"), "Floats of one prepared weight.");
  m.def("conv3x3_prepare", &conv3x3_prepare, no_gil, py::arg("weight"), py::arg("points"), py::arg("c"), py::arg("o"),
        py::arg("threads"));
  m.def("conv3x3_fwd", &conv3x3_fwd, no_gil, py::arg("x"), py::arg("weight"), py::arg("points"), py::arg("bias"),
        py::arg("y"), py::arg("n"), py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("threads"));
  m.def("conv3x3_grad_weight", &conv3x3_grad_weight, no_gil, py::arg("x"), py::arg("grad"), py::arg("grad_weight"),
        py::arg("grad_bias"), py::arg("n"), py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"), py::arg("dtype"),
        py::arg("threads"));
  m.def("gated_pair_fwd", &gated_pair_fwd, no_gil, py::arg("x0"), py::arg("x1"), py::arg("gate"), py::arg("weight"),
        py::arg("bias"), py::arg("y"), py::arg("n"), py::arg("c"), py::arg("o"), py::arg("hw"), py::arg("dtype"),
        py::arg("threads"));
  m.def("gated_pair_bwd", &gated_pair_bwd, no_gil, py::arg("grad_y"), py::arg("y"), py::arg("x0"), py::arg("x1"),
        py::arg("gate"), py::arg("weight"), py::arg("grad_x0"), py::arg("grad_x1"), py::arg("grad_gate"),
        py::arg("grad_weight"), py::arg("grad_bias"), py::arg("n"), py::arg("c"), py::arg("o"), py::arg("hw"),
        py::arg("dtype"), py::arg("threads"));
  m.def("wide_residual_fwd", &wide_residual_fwd, no_gil, py::arg("x"), py::arg("weight1"), py::arg("weight2"),
        py::arg("points"), py::arg("bias1"),
        py::arg("bias2"), py::arg("gate"), py::arg("x_scale"), py::arg("res_scale"), py::arg("y"), py::arg("f"),
        py::arg("mean"), py::arg("n"), py::arg("c"), py::arg("k"), py::arg("h"), py::arg("w"), py::arg("dtype"),
        py::arg("threads"));
  m.def("wide_residual_bwd", &wide_residual_bwd, no_gil, py::arg("x"), py::arg("grad"), py::arg("weight1"),
        py::arg("bias1"), py::arg("back1"), py::arg("back2"), py::arg("grad_x"), py::arg("grad_w1"),
        py::arg("grad_b1"), py::arg("grad_w2"), py::arg("grad_b2"), py::arg("n"), py::arg("c"), py::arg("k"),
        py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("threads"));
}
