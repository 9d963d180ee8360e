// The Python module awsrn_fast._cuda: the table of contents of the CUDA launchers. A library of its own, with cudart
// linked in, so that it imports on a machine without a driver and _cpu loads without it. Tensors come as addresses
// (0 for None) and sizes, and the caller keeps them alive; awsrn_fast/ops/<op>/autograd.py is the only caller. Each
// launcher's last arguments say where: device index, stream, and architecture (75 for 7.5).
//
// Under AWSRN_FAST_CUDA_HOST it is _cuda_host: the same table over the kernels that g++ has compiled.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "common/check.h"
#include "cuda/architecture.h"
#include "cuda/awms.h"
#include "cuda/channel_attention.h"
#include "cuda/conv.h"
#include "cuda/dwpw_attention.h"
#include "cuda/gated_residual.h"
#include "cuda/non_local.h"
#include "cuda/wide_residual.h"
#ifdef AWSRN_FAST_CUDA_HOST
#include "cuda_host/module.h"
#else
#include <cuda_runtime_api.h>

#include "common/check_cuda.h"
#endif

namespace py = pybind11;
using namespace awsrn_fast;
using Address = std::uintptr_t;

namespace {

template <class T = void>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

DType map_dtype(int code, const Target& target, const char* op) {
  AWSRN_FAST_CHECK(code >= 0 && code <= int(DType::float16), std::string(op) + ": unknown dtype");
  AWSRN_FAST_CHECK(DType(code) != DType::bfloat16 || target.arch >= 80, std::string(op) + ": bfloat16 before sm_80");
  return DType(code);
}

AwmsMaps awms_maps(std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int k) {
  AWSRN_FAST_CHECK(k % 2 == 1 && k <= kAwmsMostTaps,
                   "awms: weight must have an odd kernel of at most 9x9 for the CUDA kernels; use the reference backend");
  return {n, h, w, c, o, k};
}

void awms_fwd(Address x, Address weight, Address bias, Address skip, Address shift, Address y, std::int64_t row,
              bool channels_last, int scale, float out_scale, bool clamp, bool levels, std::int64_t n, std::int64_t c,
              std::int64_t o, std::int64_t h, std::int64_t w, int k, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_awms_fwd({awms_maps(n, c, o, h, w, k), row, pointer(x), pointer(weight), pointer(bias), pointer(skip),
                   pointer(shift), pointer(y), channels_last, scale, out_scale, clamp, levels},
                  map_dtype(dtype, target, "awms"), target);
}

void awms_bwd_grad(Address grad_y, Address y, Address grad, Address grad_bias, Address grad_shift, Address workspace,
                   std::int64_t grad_row, bool channels_last, int scale, float out_scale, std::int64_t n,
                   std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int k, int dtype, int device,
                   Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_awms_bwd_grad({awms_maps(n, c, o, h, w, k), grad_row, pointer(grad_y), pointer(y), channels_last, scale,
                        out_scale, pointer(grad), pointer(grad_bias), pointer(grad_shift), pointer<float>(workspace)},
                       map_dtype(dtype, target, "awms"), target);
}

void awms_bwd_weight(Address x, Address grad, Address grad_weight, Address workspace, std::int64_t row,
                     std::int64_t grad_row, std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t h,
                     std::int64_t w, int k, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_awms_bwd_weight({awms_maps(n, c, o, h, w, k), row, grad_row, pointer(x), pointer(grad), pointer(grad_weight),
                          pointer<float>(workspace)},
                         map_dtype(dtype, target, "awms"), target);
}

using Inputs = std::vector<std::pair<Address, std::int64_t>>;  // address, channels
using Values = std::pair<Address, bool>;                      // address, whether fp32

ConvValues values(const Values& given) { return {pointer(given.first), given.second}; }

Conv conv_of(const std::string& op, const Inputs& inputs, Address weight, const Values& input_gate, const Values& bias,
             bool relu, Address mask, Address plain, Address residual, const Values& gate, const Values& x_scale,
             const Values& res_scale, Address y, Address mean, Address workspace, std::int64_t n, std::int64_t o,
             std::int64_t h, std::int64_t w, int k) {
  AWSRN_FAST_CHECK(!inputs.empty() && inputs.size() <= std::size_t(kConvMostMaps), op + ": one to four maps");
  AWSRN_FAST_CHECK(k == 1 || k == 3, op + ": the CUDA kernels have 1x1 and 3x3 convolutions");
  Conv a{op.c_str(), n, h, w, o, k};
  a.count = int(inputs.size());
  for (int i = 0; i < a.count; ++i) a.inputs[i] = {pointer(inputs[i].first), inputs[i].second};
  a.weight = pointer(weight), a.input_gate = values(input_gate), a.bias = values(bias), a.relu = relu;
  a.mask = pointer(mask), a.plain = pointer(plain), a.residual = pointer(residual), a.gate = values(gate);
  a.x_scale = values(x_scale), a.res_scale = values(res_scale), a.y = pointer(y), a.mean = pointer(mean);
  a.workspace = pointer<float>(workspace);
  return a;
}

void conv(const std::string& op, const Inputs& inputs, Address weight, Values input_gate, Values bias, bool relu,
          Address mask, Address plain, Address residual, Values gate, Values x_scale, Values res_scale, Address y,
          Address mean, Address workspace, std::int64_t n, std::int64_t o, std::int64_t h, std::int64_t w, int k,
          int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_conv(conv_of(op, inputs, weight, input_gate, bias, relu, mask, plain, residual, gate, x_scale, res_scale, y,
                      mean, workspace, n, o, h, w, k),
              map_dtype(dtype, target, op.c_str()), target);
}

void wide_residual_fwd(Address w1, Values b1, Address x, Address weight, Values bias, Address plain, Values gate,
                       Values x_scale, Values res_scale, Address y, Address mean, Address workspace, std::int64_t n,
                       std::int64_t h, std::int64_t w, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  const std::string op = "wide_residual";
  const Conv second = conv_of(op, {{x, kWideResidualChannels}}, weight, {0, false}, bias, false, 0, plain, x, gate,
                              x_scale, res_scale, y, mean, workspace, n, kWideResidualChannels, h, w, 3);
  launch_wide_residual_fwd({second, pointer(w1), values(b1)}, map_dtype(dtype, target, op.c_str()), target);
}

void channel_attention_fwd(Address mean, Address w1, Address b1, Address w2, Address b2, Address gate, Address hidden,
                           std::int64_t n, std::int64_t c, std::int64_t r, int dtype, int device, Address stream,
                           int arch) {
  const Target target{device, stream, arch};
  launch_channel_attention_fwd({{n, c, r}, pointer(mean), pointer(w1), pointer(b1), pointer(w2), pointer(b2),
                                pointer(gate), pointer<float>(hidden)},
                               map_dtype(dtype, target, "channel_attention"), target);
}

void channel_attention_bwd(Address grad_gate, Address mean, Address w1, Address b1, Address w2, Address b2,
                           Address grad_mean, Address grad_w1, Address grad_b1, Address grad_w2, Address grad_b2,
                           Address hidden, Address to_hidden, Address to_gate, std::int64_t n, std::int64_t c,
                           std::int64_t r, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_channel_attention_bwd(
      {{n, c, r}, pointer(grad_gate), pointer(mean), pointer(w1), pointer(b1), pointer(w2), pointer(b2),
       pointer(grad_mean), pointer(grad_w1), pointer(grad_b1), pointer(grad_w2), pointer(grad_b2),
       pointer<float>(hidden), pointer<float>(to_hidden), pointer<float>(to_gate)},
      map_dtype(dtype, target, "channel_attention"), target);
}

void dwpw_attention_fwd(Address x, Address w_dw, Address b_dw, Address w_pw, Address b_pw, Address w_a, Address b_a,
                        Address residual, Address y, std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h,
                        std::int64_t w, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_dwpw_attention_fwd(
      {{n, c, d, h, w},
       pointer(x),
       {pointer(w_dw), pointer(b_dw), pointer(w_pw), pointer(b_pw), pointer(w_a), pointer(b_a)},
       pointer(residual),
       pointer(y)},
      map_dtype(dtype, target, "dwpw_attention"), target);
}

void dwpw_attention_bwd(Address grad_y, Address x, Address w_dw, Address b_dw, Address w_pw, Address b_pw, Address w_a,
                        Address b_a, Address grad_depthwise, Address grad_x, Address grad_w_dw, Address grad_b_dw,
                        Address grad_w_pw, Address grad_b_pw, Address grad_w_a, Address grad_b_a, Address workspace,
                        std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w, int dtype,
                        int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_dwpw_attention_bwd(
      {{n, c, d, h, w},
       pointer(grad_y),
       pointer(x),
       {pointer(w_dw), pointer(b_dw), pointer(w_pw), pointer(b_pw), pointer(w_a), pointer(b_a)},
       pointer(grad_depthwise),
       pointer(grad_x),
       pointer(grad_w_dw),
       pointer(grad_b_dw),
       pointer(grad_w_pw),
       pointer(grad_b_pw),
       pointer(grad_w_a),
       pointer(grad_b_a),
       pointer<float>(workspace)},
      map_dtype(dtype, target, "dwpw_attention"), target);
}

void gated_residual_fwd(Address x, Address f, Address gate, Address x_scale, Address res_scale, Address y, Address mean,
                        Address workspace, std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last,
                        int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_gated_residual_fwd({{n, c, hw, channels_last}, pointer(x), pointer(f), pointer(gate), pointer(x_scale),
                             pointer(res_scale), pointer(y), pointer(mean), pointer<float>(workspace)},
                            map_dtype(dtype, target, "gated_residual"), target);
}

void gated_residual_bwd(Address grad_y, Address grad_mean, Address x, Address f, Address gate, Address x_scale,
                        Address res_scale, Address grad_x, Address grad_f, Address grad_gate, Address grad_x_scale,
                        Address grad_res_scale, Address workspace, std::int64_t n, std::int64_t c, std::int64_t hw,
                        bool channels_last, int dtype, int device, Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_gated_residual_bwd({{n, c, hw, channels_last}, pointer(grad_y), pointer(grad_mean), pointer(x), pointer(f),
                             pointer(gate), pointer(x_scale), pointer(res_scale), pointer(grad_x), pointer(grad_f),
                             pointer(grad_gate), pointer(grad_x_scale), pointer(grad_res_scale),
                             pointer<float>(workspace)},
                            map_dtype(dtype, target, "gated_residual"), target);
}

void non_local_fwd(Address qkv, Address x, Address w_z, Address b_z, Address y, Address attended, Address softmax,
                   std::int64_t c, std::int64_t n, int h, int w, int d, int block, int halo, int dtype, int device,
                   Address stream, int arch) {
  const Target target{device, stream, arch};
  launch_non_local_fwd({{n, h, w, d, block, halo}, pointer(qkv), c, pointer(x), pointer(w_z), pointer(b_z), pointer(y),
                        pointer(attended), pointer<float>(softmax)},
                       map_dtype(dtype, target, "non_local"), target);
}

void non_local_bwd(Address grad, Address qkv, Address attended, Address softmax, Address grad_qkv, Address workspace,
                   std::int64_t n, int h, int w, int d, int block, int halo, int dtype, int device, Address stream,
                   int arch) {
  const Target target{device, stream, arch};
  launch_non_local_bwd({{n, h, w, d, block, halo}, pointer(grad), pointer(qkv), pointer(attended),
                        pointer<float>(softmax), pointer(grad_qkv), pointer<float>(workspace)},
                       map_dtype(dtype, target, "non_local"), target);
}

#ifdef AWSRN_FAST_CUDA_HOST
#define AWSRN_FAST_CUDA_ARCHS "7.5;8.0"  // the harness has both instances
#else
int driver_version() {
  int version = 0;  // without a driver
  check_cuda(cudaDriverGetVersion(&version), "asking the driver for its version");
  return version;
}

std::vector<std::pair<int, int>> device_capabilities() {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count), "counting devices");
  std::vector<std::pair<int, int>> capabilities(count);
  for (int i = 0; i < count; ++i) {
    check_cuda(cudaDeviceGetAttribute(&capabilities[i].first, cudaDevAttrComputeCapabilityMajor, i), "reading a device");
    check_cuda(cudaDeviceGetAttribute(&capabilities[i].second, cudaDevAttrComputeCapabilityMinor, i),
               "reading a device");
  }
  return capabilities;
}
#endif

void bind_launchers(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.attr("FLOAT32") = int(DType::float32);
  m.attr("BFLOAT16") = int(DType::bfloat16);
  m.attr("FLOAT16") = int(DType::float16);
  m.attr("archs") = AWSRN_FAST_CUDA_ARCHS;

  m.def("blocks_that_fit",
        [](int arch, int threads, int registers, int shared_bytes) {
          return blocks_that_fit(architecture(arch), threads, registers, shared_bytes);
        },
        py::arg("arch"), py::arg("threads"), py::arg("registers"), py::arg("shared_bytes"),
        "Blocks of a kernel that one SM runs at a time.");
  m.def("awms_tiles", &awms_tiles, py::arg("outputs"), "Tiles of 8 outputs that a block of the convolution has.");
  m.def("awms_workspace",
        [](std::int64_t n, std::int64_t c, std::int64_t o, std::int64_t h, std::int64_t w, int k, int dtype) {
          const AwmsMaps maps = awms_maps(n, c, o, h, w, k);
          return std::pair(awms_sums_workspace(maps), awms_weight_workspace(maps, DType(dtype)));
        },
        py::arg("n"), py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"), py::arg("k"), py::arg("dtype"),
        "Floats of workspace: of awms_bwd_grad, of awms_bwd_weight.");
  m.def("awms_fwd", &awms_fwd, no_gil, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("skip"),
        py::arg("shift"), py::arg("y"), py::arg("row"), py::arg("channels_last"), py::arg("scale"), py::arg("out_scale"),
        py::arg("clamp"), py::arg("levels"), py::arg("n"), py::arg("c"), py::arg("o"), py::arg("h"), py::arg("w"),
        py::arg("k"),
        py::arg("dtype"), py::arg("device"), py::arg("stream"), py::arg("arch"));
  m.def("awms_bwd_grad", &awms_bwd_grad, no_gil, py::arg("grad_y"), py::arg("y"), py::arg("grad"),
        py::arg("grad_bias"), py::arg("grad_shift"), py::arg("workspace"), py::arg("grad_row"),
        py::arg("channels_last"), py::arg("scale"), py::arg("out_scale"), py::arg("n"), py::arg("c"), py::arg("o"),
        py::arg("h"), py::arg("w"), py::arg("k"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));
  m.def("awms_bwd_weight", &awms_bwd_weight, no_gil, py::arg("x"), py::arg("grad"), py::arg("grad_weight"),
        py::arg("workspace"), py::arg("row"), py::arg("grad_row"), py::arg("n"), py::arg("c"), py::arg("o"),
        py::arg("h"), py::arg("w"), py::arg("k"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));

  m.def("conv_tiles", &conv_tiles, py::arg("outputs"), "Tiles of 8 outputs that a block of a small convolution has.");
  m.def("conv_workspace", &conv_workspace, py::arg("n"), py::arg("h"), py::arg("w"), py::arg("o"),
        "Floats of workspace where the mean is wanted.");
  m.def("conv", &conv, no_gil, py::arg("op"), py::arg("inputs"), py::arg("weight"), py::arg("input_gate"),
        py::arg("bias"), py::arg("relu"), py::arg("mask"), py::arg("plain"), py::arg("residual"), py::arg("gate"),
        py::arg("x_scale"), py::arg("res_scale"), py::arg("y"), py::arg("mean"), py::arg("workspace"), py::arg("n"),
        py::arg("o"), py::arg("h"), py::arg("w"), py::arg("k"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));

  m.def("wide_residual_is_fused",
        [](int arch, std::int64_t c, std::int64_t k, int dtype) {
          return wide_residual_is_fused(arch, c, k, DType(dtype));
        },
        py::arg("arch"), py::arg("c"), py::arg("k"), py::arg("dtype"),
        "Whether wide_residual_fwd takes these sizes and is chosen over two convolutions.");
  m.def("wide_residual_workspace", &wide_residual_workspace, py::arg("n"), py::arg("h"), py::arg("w"),
        "Floats of workspace where the mean is wanted.");
  m.def("wide_residual_fwd", &wide_residual_fwd, no_gil, py::arg("w1"), py::arg("b1"), py::arg("x"), py::arg("weight"),
        py::arg("bias"), py::arg("plain"), py::arg("gate"), py::arg("x_scale"), py::arg("res_scale"), py::arg("y"),
        py::arg("mean"), py::arg("workspace"), py::arg("n"), py::arg("h"), py::arg("w"), py::arg("dtype"),
        py::arg("device"), py::arg("stream"), py::arg("arch"));

  m.def("channel_attention_fwd", &channel_attention_fwd, no_gil, py::arg("mean"), py::arg("w1"), py::arg("b1"),
        py::arg("w2"), py::arg("b2"), py::arg("gate"), py::arg("hidden"), py::arg("n"), py::arg("c"), py::arg("r"),
        py::arg("dtype"), py::arg("device"), py::arg("stream"), py::arg("arch"));
  m.def("channel_attention_bwd", &channel_attention_bwd, no_gil, py::arg("grad_gate"), py::arg("mean"), py::arg("w1"),
        py::arg("b1"), py::arg("w2"), py::arg("b2"), py::arg("grad_mean"), py::arg("grad_w1"), py::arg("grad_b1"),
        py::arg("grad_w2"), py::arg("grad_b2"), py::arg("hidden"), py::arg("to_hidden"), py::arg("to_gate"),
        py::arg("n"), py::arg("c"), py::arg("r"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));

  m.def("dwpw_attention_bwd_workspace",
        [](std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w, int dtype, int arch) {
          return dwpw_attention_bwd_workspace({n, c, d, h, w}, DType(dtype), arch);
        },
        py::arg("n"), py::arg("c"), py::arg("d"), py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("arch"),
        "Floats of workspace.");
  m.def("dwpw_attention_fwd", &dwpw_attention_fwd, no_gil, py::arg("x"), py::arg("w_dw"), py::arg("b_dw"),
        py::arg("w_pw"), py::arg("b_pw"), py::arg("w_a"), py::arg("b_a"), py::arg("residual"), py::arg("y"),
        py::arg("n"), py::arg("c"), py::arg("d"), py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("device"),
        py::arg("stream"), py::arg("arch"));
  m.def("dwpw_attention_bwd", &dwpw_attention_bwd, no_gil, py::arg("grad_y"), py::arg("x"), py::arg("w_dw"),
        py::arg("b_dw"), py::arg("w_pw"), py::arg("b_pw"), py::arg("w_a"), py::arg("b_a"), py::arg("grad_depthwise"),
        py::arg("grad_x"), py::arg("grad_w_dw"), py::arg("grad_b_dw"), py::arg("grad_w_pw"), py::arg("grad_b_pw"),
        py::arg("grad_w_a"), py::arg("grad_b_a"), py::arg("workspace"), py::arg("n"), py::arg("c"), py::arg("d"),
        py::arg("h"), py::arg("w"), py::arg("dtype"), py::arg("device"), py::arg("stream"), py::arg("arch"));

  m.def("gated_residual_workspace",
        [](std::int64_t n, std::int64_t c, std::int64_t hw, bool channels_last) {
          return gated_residual_workspace({n, c, hw, channels_last});
        },
        py::arg("n"), py::arg("c"), py::arg("hw"), py::arg("channels_last"), "Floats of workspace, of both directions.");
  m.def("gated_residual_fwd", &gated_residual_fwd, no_gil, py::arg("x"), py::arg("f"), py::arg("gate"),
        py::arg("x_scale"), py::arg("res_scale"), py::arg("y"), py::arg("mean"), py::arg("workspace"), py::arg("n"),
        py::arg("c"), py::arg("hw"), py::arg("channels_last"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));
  m.def("gated_residual_bwd", &gated_residual_bwd, no_gil, py::arg("grad_y"), py::arg("grad_mean"), py::arg("x"),
        py::arg("f"), py::arg("gate"), py::arg("x_scale"), py::arg("res_scale"), py::arg("grad_x"), py::arg("grad_f"),
        py::arg("grad_gate"), py::arg("grad_x_scale"), py::arg("grad_res_scale"), py::arg("workspace"), py::arg("n"),
        py::arg("c"), py::arg("hw"), py::arg("channels_last"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));

  m.def("non_local_workspace",
        [](std::int64_t n, int h, int w, int d, int block, int halo) {
          return non_local_workspace({n, h, w, d, block, halo});
        },
        py::arg("n"), py::arg("h"), py::arg("w"), py::arg("d"), py::arg("block"), py::arg("halo"),
        "Floats of backward's workspace.");
  m.def("non_local_fwd", &non_local_fwd, no_gil, py::arg("qkv"), py::arg("x"), py::arg("w_z"), py::arg("b_z"),
        py::arg("y"), py::arg("attended"), py::arg("softmax"), py::arg("c"), py::arg("n"), py::arg("h"), py::arg("w"),
        py::arg("d"), py::arg("block"), py::arg("halo"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));
  m.def("non_local_bwd", &non_local_bwd, no_gil, py::arg("grad"), py::arg("qkv"), py::arg("attended"),
        py::arg("softmax"), py::arg("grad_qkv"), py::arg("workspace"), py::arg("n"), py::arg("h"), py::arg("w"),
        py::arg("d"), py::arg("block"), py::arg("halo"), py::arg("dtype"), py::arg("device"), py::arg("stream"),
        py::arg("arch"));
}

}  // namespace

#ifdef AWSRN_FAST_CUDA_HOST
PYBIND11_MODULE(_cuda_host, m) {
  bind_launchers(m);
  cuda_host::bind(m);
}
#else
PYBIND11_MODULE(_cuda, m) {
  m.attr("build_id") = AWSRN_FAST_BUILD_ID;
  m.attr("runtime_version") = CUDART_VERSION;
  m.def("driver_version", &driver_version,
        "CUDA version that the driver supports, 13000 for 13.0, 0 without a driver; starts nothing on a GPU.");
  m.def("device_capabilities", &device_capabilities,
        "Compute capability (major, minor) of each device; RuntimeError gives CUDA's reason if there is no driver.");
  bind_launchers(m);
}
#endif
