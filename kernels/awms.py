"""``awms`` in Triton: the merged convolution as an implicit matrix product, tap by tap, its epilogue shuffling pixels.

The gradient of x is the same kernel on the turned weights, that of the weights the small convolutions'.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _gpu
from ._conv import BWD_WEIGHT, weight_gradient
from ._maps import layout, strides
from ._numbers import narrow, precision, product
from ._tiles import Problem, Tiles, Tiling, padded


@triton.jit
def awms_fwd_kernel(
    x,  # [N, C, H, W]
    weight,  # [KERNEL * KERNEL, C, O]
    bias,  # [O] or None
    skip,  # [N, O, H, W] or None
    out_shift,  # [O / SCALE**2] or None
    y,  # [N, O / SCALE**2, SCALE * H, SCALE * W]
    out_scale,
    channels,
    outputs,
    height,
    width,
    x_stride_c,
    x_stride_p,
    skip_stride_c,
    skip_stride_p,
    y_stride_c,
    y_stride_p,
    KERNEL: tl.constexpr,
    SCALE: tl.constexpr,
    CLAMP: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    positions = height * width
    tiles_o, tiles_p = tl.cdiv(outputs, BLOCK_O), tl.cdiv(positions, BLOCK_P)
    pid = tl.program_id(0)
    n = (pid // (tiles_o * tiles_p)).to(tl.int64)
    p = pid // tiles_o % tiles_p * BLOCK_P + tl.arange(0, BLOCK_P)
    o = pid % tiles_o * BLOCK_O + tl.arange(0, BLOCK_O)
    row, column = p // width, p % width
    x += n * channels * positions
    sums = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    tiles_c = tl.cdiv(channels, BLOCK_C)
    for step in range(KERNEL * KERNEL * tiles_c):
        tap, c = step // tiles_c, step % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
        r, k = row + tap // KERNEL - KERNEL // 2, column + tap % KERNEL - KERNEL // 2
        inside = (r >= 0) & (r < height) & (k >= 0) & (k < width)
        at = (r * width + k).to(tl.int64)[:, None] * x_stride_p + c.to(tl.int64)[None, :] * x_stride_c
        value = tl.load(x + at, inside[:, None] & (c < channels)[None, :], other=0)
        some = (c < channels)[:, None] & (o < outputs)[None, :]
        taps = tl.load(weight + (tap * channels + c)[:, None] * outputs + o[None, :], some, other=0)
        sums = product(value, taps, sums, PRECISION)

    inside = (p < positions)[:, None] & (o < outputs)[None, :]
    if bias is not None:
        sums += tl.load(bias + o, o < outputs, other=0).to(tl.float32)[None, :]
    if skip is not None:
        at = p.to(tl.int64)[:, None] * skip_stride_p + o.to(tl.int64)[None, :] * skip_stride_c
        sums += tl.load(skip + n * outputs * positions + at, inside, other=0).to(tl.float32)
    sums *= out_scale
    plane, place = o // (SCALE * SCALE), o % (SCALE * SCALE)
    if out_shift is not None:
        sums += tl.load(out_shift + plane, o < outputs, other=0).to(tl.float32)[None, :]
    if CLAMP:
        sums = tl.minimum(tl.maximum(sums, 0), 1)
    r = row.to(tl.int64)[:, None] * SCALE + (place // SCALE)[None, :]
    k = column[:, None] * SCALE + (place % SCALE)[None, :]
    at = (r * (width * SCALE) + k) * y_stride_p + plane.to(tl.int64)[None, :] * y_stride_c
    tl.store(y + n * outputs * positions + at, narrow(sums, y.dtype.element_ty), inside)


def awms_fwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    """``y [N, P, scale*H, scale*W]`` in x's layout; see ``awsrn_fast.ops.awms``."""
    levels = out_dtype == torch.uint8
    of = layout(x)
    taps = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[1], weight.shape[0]).contiguous()
    n, _, h, w = x.shape
    shape = (n, weight.shape[0] // scale**2, scale * h, scale * w)
    y = torch.empty(shape, dtype=torch.float32 if levels else x.dtype, device=x.device, memory_format=of)
    skip = None if skip is None else skip.contiguous(memory_format=of)
    out_shift = None if out_shift is None else out_shift.contiguous()
    _convolve(x.contiguous(memory_format=of), taps, bias.contiguous(), skip, out_shift, y, scale, out_scale, clamp)
    # In PyTorch: a compiler may contract it into an FMA, and then ties round differently.
    return y.clamp_(0, 1).mul_(255).round_().to(torch.uint8) if levels else y


def awms_bwd(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """Gradients of x, weight, bias, skip, out_shift, all but those of maps in fp32; those not requested are empty."""
    if clamp:  # the values before the clamp determine where it passes a gradient
        y = awms_fwd(x, weight, bias, skip, scale, out_scale, out_shift, False)
        grad_y = grad_y * ((y >= 0) & (y <= 1))
    of = layout(x)
    x = x.contiguous(memory_format=of)
    grad = _unshuffled(grad_y, scale, out_scale).contiguous(memory_format=of)  # [N, O, H, W]
    want_x, want_weight, want_bias, want_skip, want_shift = wanted
    grads: list[Tensor] = [x.new_empty(0) for _ in wanted]
    if want_x:
        taps = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(-1, *weight.shape[:2]).contiguous()
        grads[0] = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=of)
        _convolve(grad, taps, None, None, None, grads[0], 1, 1.0, False)
    if want_weight:
        grads[1] = weight_gradient(x, grad, weight.shape[-1], of)
    if want_bias:
        grads[2] = grad.sum((0, 2, 3), dtype=torch.float32)
    if want_skip:
        grads[3] = grad.clone(memory_format=layout(skip))
    if want_shift:
        grads[4] = grad_y.sum((0, 2, 3), dtype=torch.float32)
    return tuple(grads)


def _convolve(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    skip: Tensor | None,
    out_shift: Tensor | None,
    y: Tensor,
    scale: int,
    out_scale: float,
    clamp: bool,
) -> None:
    """The forward kernel, with ``taps [K*K, C, O]``."""
    n, channels, h, w = x.shape
    outputs, of = taps.shape[2], layout(x)
    gpu = _gpu.gpu(x)
    tiles = FWD(gpu, x.dtype, (channels, outputs), of)
    grid = (n * triton.cdiv(outputs, tiles["BLOCK_O"]) * triton.cdiv(h * w, tiles["BLOCK_P"]),)
    step = (*strides(channels, h * w, of), *strides(outputs, h * w, of))
    step += strides(y.shape[1], y.shape[2] * y.shape[3], of)
    options = (int(taps.shape[0] ** 0.5 + 0.5), scale, clamp, precision(x.dtype, gpu.arch))
    inputs = (x, taps, bias, skip, out_shift, y, float(out_scale))
    awms_fwd_kernel[grid](*inputs, channels, outputs, h, w, *step, *options, **tiles)


def _unshuffled(grad_y: Tensor, scale: int, out_scale: float) -> Tensor:
    """``[N, P, scale*H, scale*W]`` -> the gradient of the convolution's output, ``[N, O, H, W]``."""
    n, planes, high, wide = grad_y.shape
    h, w = high // scale, wide // scale
    grad = (grad_y * out_scale).reshape(n, planes, h, scale, w, scale).permute(0, 1, 3, 5, 2, 4)
    return grad.reshape(n, planes * scale**2, h, w)


def _fwd_tiles(problem: Problem) -> Tiles:
    channels, outputs = problem.channels
    tiles = {"BLOCK_C": min(padded(channels), 32), "BLOCK_O": min(padded(outputs), 64), "BLOCK_P": 64}
    return tiles | {"num_warps": 4, "num_stages": 2 if problem.dtype == torch.float32 else 3}


def _fwd_fits(problem: Problem, tiles: Tiles, shared: int) -> bool:
    operands = tiles["BLOCK_C"] * (tiles["BLOCK_P"] + tiles["BLOCK_O"])
    staged = operands * problem.dtype.itemsize * tiles["num_stages"]
    return tiles["BLOCK_O"] <= padded(problem.channels[1]) and staged <= shared


FWD = Tiling("awms_fwd", _fwd_tiles, _fwd_fits)
TILINGS = (FWD, BWD_WEIGHT)
