"""A convolution of up to four maps in Triton, 3x3 with zero 'same' padding or 1x1, as an implicit matrix product, with
what may stand before and behind it: what ``conv3x3``, ``gated_pair`` and both halves of ``wide_residual`` are made of.

The gradient of the maps is the same kernel on the mirrored weight. That of the weight is a product over positions, in a
fixed number of parts that are summed afterwards; ``awms`` has its own from there, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _gpu
from ._maps import strides
from ._numbers import narrow, precision, product
from ._tiles import Problem, Tiles, Tiling, padded

CHUNKS = 16
"""Number of partial sums of a weight's gradient; constant, so that results do not depend on the GPU."""
MOST_MAPS = 4


@triton.jit
def _with_products(
    sums,  # [BLOCK_P, BLOCK_O]
    x,  # [N, C, H, W]
    gate,  # [N, inputs] or None
    weight,  # [KERNEL * KERNEL, inputs, outputs]
    n,
    p,
    o,
    first,
    channels,
    inputs,
    outputs,
    height,
    width,
    CHANNELS_LAST: tl.constexpr,
    KERNEL: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """``sums`` and the products of one map, whose channels are those from ``first`` on of all ``inputs``."""
    row, column = p // width, p % width
    x += n * channels * height * width
    tiles_c = tl.cdiv(channels, BLOCK_C)
    for step in range(KERNEL * KERNEL * tiles_c):
        tap, c = step // tiles_c, step % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
        r, k = row + tap // KERNEL - KERNEL // 2, column + tap % KERNEL - KERNEL // 2
        inside = (r >= 0) & (r < height) & (k >= 0) & (k < width)
        at = (r * width + k).to(tl.int64)
        if CHANNELS_LAST:
            at = at[:, None] * channels + c[None, :]
        else:
            at = at[:, None] + c.to(tl.int64)[None, :] * (height * width)
        value = tl.load(x + at, inside[:, None] & (c < channels)[None, :], other=0)
        if gate is not None:
            factor = tl.load(gate + n * inputs + first + c, c < channels, other=0).to(tl.float32)
            value = narrow(value.to(tl.float32) * factor[None, :], x.dtype.element_ty)
        some = (c < channels)[:, None] & (o < outputs)[None, :]
        taps = tl.load(weight + (tap * inputs + first + c)[:, None] * outputs + o[None, :], some, other=0)
        sums = product(value, taps, sums, PRECISION)
    return sums


@triton.jit
def conv_fwd_kernel(
    x0,  # [N, channels0, H, W]
    x1,  # likewise, or None
    x2,
    x3,
    input_gate,  # [N, inputs] or None
    weight,  # [KERNEL * KERNEL, inputs, outputs]
    bias,  # [outputs] or None
    mask,  # [N, outputs, H, W] or None: the result is 0 where it is not above 0
    plain,  # [N, outputs, H, W] or None: the result before gate, scales and residual
    residual,  # [N, outputs, H, W] or None
    gate,  # [N, outputs] or None
    x_scale,  # [1] or None, of the residual
    res_scale,  # [1] or None, of the convolution
    y,  # [N, outputs, H, W]
    sums_y,  # [N, tiles of P, outputs] or None: each program's sums of y
    channels0,
    channels1,
    channels2,
    channels3,
    outputs,
    height,
    width,
    RELU: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    KERNEL: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    positions = height * width
    inputs = channels0 + channels1 + channels2 + channels3
    tiles_o, tiles_p = tl.cdiv(outputs, BLOCK_O), tl.cdiv(positions, BLOCK_P)
    pid = tl.program_id(0)
    n = (pid // (tiles_o * tiles_p)).to(tl.int64)
    part = pid // tiles_o % tiles_p
    p = part * BLOCK_P + tl.arange(0, BLOCK_P)
    o = pid % tiles_o * BLOCK_O + tl.arange(0, BLOCK_O)
    value = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    # fmt: off
    value = _with_products(value, x0, input_gate, weight, n, p, o, 0, channels0, inputs, outputs, height, width,
                           CHANNELS_LAST, KERNEL, PRECISION, BLOCK_C)
    first = channels0
    if x1 is not None:
        value = _with_products(value, x1, input_gate, weight, n, p, o, first, channels1, inputs, outputs, height, width,
                               CHANNELS_LAST, KERNEL, PRECISION, BLOCK_C)
        first += channels1
    if x2 is not None:
        value = _with_products(value, x2, input_gate, weight, n, p, o, first, channels2, inputs, outputs, height, width,
                               CHANNELS_LAST, KERNEL, PRECISION, BLOCK_C)
        first += channels2
    if x3 is not None:
        value = _with_products(value, x3, input_gate, weight, n, p, o, first, channels3, inputs, outputs, height, width,
                               CHANNELS_LAST, KERNEL, PRECISION, BLOCK_C)
    # fmt: on

    some = o < outputs
    inside = (p < positions)[:, None] & some[None, :]
    if CHANNELS_LAST:
        at = p.to(tl.int64)[:, None] * outputs + o[None, :]
    else:
        at = p[:, None] + o.to(tl.int64)[None, :] * positions
    at += n * outputs * positions
    dtype = y.dtype.element_ty
    if bias is not None:
        value += tl.load(bias + o, some, other=0).to(tl.float32)[None, :]
    if RELU:
        value = tl.maximum(value, 0)
    if mask is not None:
        value = tl.where(tl.load(mask + at, inside, other=0).to(tl.float32) > 0, value, 0)
    if plain is not None:
        tl.store(plain + at, narrow(value, dtype), inside)
    if res_scale is not None:
        value *= tl.load(res_scale).to(tl.float32)
    if gate is not None:
        value *= tl.load(gate + n * outputs + o, some, other=0).to(tl.float32)[None, :]
    if residual is not None:
        other = tl.load(residual + at, inside, other=0).to(tl.float32)
        if x_scale is not None:
            other *= tl.load(x_scale).to(tl.float32)
        value += other
    tl.store(y + at, narrow(value, dtype), inside)
    if sums_y is not None:
        total = tl.sum(tl.where(inside, value, 0), axis=0)
        tl.store(sums_y + (n * tiles_p + part) * outputs + o, total, some)


@triton.jit
def conv_bwd_weight_kernel(
    x,  # [N, C, H, W]
    gate,  # [N, C] or None: x times it is what was convolved
    grad,  # [N, O, H, W], of the convolution's output
    sums,  # [chunks, KERNEL * KERNEL * C, O] fp32
    images,
    chunks,
    channels,
    outputs,
    height,
    width,
    x_stride_c,
    x_stride_p,
    grad_stride_c,
    grad_stride_p,
    KERNEL: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    positions = height * width
    rows = KERNEL * KERNEL * channels
    tiles_o, tiles_m, parts = tl.cdiv(outputs, BLOCK_O), tl.cdiv(rows, BLOCK_M), tl.cdiv(positions, BLOCK_P)
    pid = tl.program_id(0)
    chunk = pid // (tiles_o * tiles_m)
    m = pid // tiles_o % tiles_m * BLOCK_M + tl.arange(0, BLOCK_M)
    o = pid % tiles_o * BLOCK_O + tl.arange(0, BLOCK_O)
    tap, c = m // channels, m % channels
    down, across = tap // KERNEL - KERNEL // 2, tap % KERNEL - KERNEL // 2
    total = tl.zeros((BLOCK_M, BLOCK_O), tl.float32)
    for part in range(chunk, images * parts, chunks):
        n = (part // parts).to(tl.int64)
        p = part % parts * BLOCK_P + tl.arange(0, BLOCK_P)
        r, k = (p // width)[None, :] + down[:, None], (p % width)[None, :] + across[:, None]
        inside = (r >= 0) & (r < height) & (k >= 0) & (k < width) & (m < rows)[:, None] & (p < positions)[None, :]
        at = (r * width + k).to(tl.int64) * x_stride_p + c.to(tl.int64)[:, None] * x_stride_c
        value = tl.load(x + n * channels * positions + at, inside, other=0)
        if gate is not None:
            factor = tl.load(gate + n * channels + c, m < rows, other=0).to(tl.float32)
            value = narrow(value.to(tl.float32) * factor[:, None], x.dtype.element_ty)
        at = p.to(tl.int64)[:, None] * grad_stride_p + o.to(tl.int64)[None, :] * grad_stride_c
        inside = (p < positions)[:, None] & (o < outputs)[None, :]
        total = product(value, tl.load(grad + n * outputs * positions + at, inside, other=0), total, PRECISION)
    at = (chunk * rows + m).to(tl.int64)[:, None] * outputs + o[None, :]
    tl.store(sums + at, total, (m < rows)[:, None] & (o < outputs)[None, :])


def convolve(
    maps: Sequence[Tensor],
    weight: Tensor,
    of: torch.memory_format,
    *,
    input_gate: Tensor | None = None,
    bias: Tensor | None = None,
    relu: bool = False,
    mask: Tensor | None = None,
    plain: Tensor | None = None,
    residual: Tensor | None = None,
    gate: Tensor | None = None,
    x_scale: Tensor | None = None,
    res_scale: Tensor | None = None,
    mean: Tensor | None = None,
) -> Tensor:
    """``y [N, O, H, W]`` in the layout ``of``: with v the convolution of the (gated) maps plus bias, ``v = max(v, 0)``
    where ``relu``, 0 where ``mask`` is not above 0, ``plain = v`` and ``y = x_scale residual + res_scale gate v``.

    Args:
        maps: up to four, ``[N, C_i, H, W]``, as if they were concatenated.
        weight: ``[O, C, K, K]``, K 1 or 3, C that of all maps.
        of: the layout of y, and of ``plain``, which is dense in it.
        input_gate: ``[N, C]``; bias: ``[O]``; gate: ``[N, O]``; x_scale, res_scale: ``[1]``: in any dtype. None is 1,
            or 0 for the bias.
        mask, residual: ``[N, O, H, W]``.
        mean: ``[N, O]``, which receives y's, of the values before they are rounded for storing.
    """
    n, _, h, w = maps[0].shape
    outputs, inputs, kernel, _ = weight.shape
    taps = weight.permute(2, 3, 1, 0).reshape(kernel * kernel, inputs, outputs).contiguous()
    lacking = MOST_MAPS - len(maps)
    gpu = _gpu.gpu(maps[0])
    tiles = FWD(gpu, weight.dtype, (inputs, outputs, kernel), of)
    tiles_p = triton.cdiv(h * w, tiles["BLOCK_P"])
    shape = (n, outputs, h, w)
    y = torch.empty(shape, dtype=maps[0].dtype, device=weight.device, memory_format=of)
    sums = None
    if mean is not None:
        sums = torch.empty((n, tiles_p, outputs), dtype=torch.float32, device=weight.device)
    small = (None if t is None else t.contiguous() for t in (input_gate, bias, gate, x_scale, res_scale))
    of_inputs, bias, gate, x_scale, res_scale = small
    mask, residual = (None if t is None else t.contiguous(memory_format=of) for t in (mask, residual))
    conv_fwd_kernel[(n * triton.cdiv(outputs, tiles["BLOCK_O"]) * tiles_p,)](
        *(x.contiguous(memory_format=of) for x in maps),
        *[None] * lacking,
        of_inputs,
        taps,
        bias,
        mask,
        plain,
        residual,
        gate,
        x_scale,
        res_scale,
        y,
        sums,
        *(x.shape[1] for x in maps),
        *[0] * lacking,
        outputs,
        h,
        w,
        relu,
        of == torch.channels_last,
        kernel,
        precision(weight.dtype, gpu.arch),
        **tiles,
    )
    if mean is not None:
        mean.copy_(sums.sum(1) / (h * w))
    return y


def mirrored(weight: Tensor) -> Tensor:
    """The weight of the convolution that takes the output's gradient to the input's."""
    return weight.transpose(0, 1).flip(2, 3)


def weight_gradient(
    x: Tensor, grad: Tensor, kernel: int, of: torch.memory_format, gate: Tensor | None = None
) -> Tensor:
    """``[O, C, K, K]`` in fp32, of the convolution of ``x [N, C, H, W]``, times ``gate [N, C]``, whose output's
    gradient is ``grad [N, O, H, W]``; both are dense in the layout ``of``."""
    (n, channels, h, w), outputs = x.shape, grad.shape[1]
    gpu = _gpu.gpu(x)
    tiles = BWD_WEIGHT(gpu, x.dtype, (channels, outputs, kernel), of)
    rows = kernel * kernel * channels
    chunks = min(n * triton.cdiv(h * w, tiles["BLOCK_P"]), CHUNKS)
    sums = torch.empty((chunks, rows, outputs), dtype=torch.float32, device=x.device)
    grid = (chunks * triton.cdiv(rows, tiles["BLOCK_M"]) * triton.cdiv(outputs, tiles["BLOCK_O"]),)
    step = (*strides(channels, h * w, of), *strides(outputs, h * w, of))
    options = (kernel, precision(x.dtype, gpu.arch))
    gate = None if gate is None else gate.contiguous()
    conv_bwd_weight_kernel[grid](x, gate, grad, sums, n, chunks, channels, outputs, h, w, *step, *options, **tiles)
    return sums.sum(0).reshape(kernel, kernel, channels, outputs).permute(3, 2, 0, 1).contiguous()


def bias_gradient(grad: Tensor) -> Tensor:
    """``[O]`` in fp32."""
    return grad.sum((0, 2, 3), dtype=torch.float32)


def _fwd_tiles(problem: Problem) -> Tiles:
    inputs, outputs, _ = problem.channels
    tiles = {"BLOCK_C": min(padded(inputs), 32), "BLOCK_O": min(padded(outputs), 64), "BLOCK_P": 64}
    return tiles | {"num_warps": 4, "num_stages": 2 if problem.dtype == torch.float32 else 3}


def _fwd_fits(problem: Problem, tiles: Tiles, shared: int) -> bool:
    operands = tiles["BLOCK_C"] * (tiles["BLOCK_P"] + tiles["BLOCK_O"])
    staged = operands * problem.dtype.itemsize * tiles["num_stages"]
    return tiles["BLOCK_O"] <= padded(problem.channels[1]) and staged <= shared


def _bwd_weight_tiles(problem: Problem) -> Tiles:
    _, outputs, _ = problem.channels
    return {"BLOCK_M": 64, "BLOCK_O": min(padded(outputs), 64), "BLOCK_P": 32, "num_warps": 4, "num_stages": 2}


def _bwd_weight_fits(problem: Problem, tiles: Tiles, shared: int) -> bool:
    operands = tiles["BLOCK_P"] * (tiles["BLOCK_M"] + tiles["BLOCK_O"])
    return operands * problem.dtype.itemsize * tiles["num_stages"] <= shared


FWD = Tiling("conv_fwd", _fwd_tiles, _fwd_fits)
BWD_WEIGHT = Tiling("conv_bwd_weight", _bwd_weight_tiles, _bwd_weight_fits)
