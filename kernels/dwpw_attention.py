"""``dwpw_attention`` in Triton: one pass forward; backward one pass for the 1x1 products and one for the 3x3 stencil.

A tile is a run of positions with all their channels. Neighbours are read through the cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _gpu
from ._maps import block, empty, layout, strides, tile, tiles
from ._numbers import narrow, precision, product, sigmoid
from ._tiles import Problem, Tiles, Tiling, padded
from .limits import dwpw_attention_channels

PROGRAMS = 256
"""Number of programs in the backward pass, each with partial sums of the weights' gradients; constant, so that results
do not depend on the GPU."""


@triton.jit
def _depthwise(x, w_dw, b_dw, p, c, channels, height, width, stride_c, stride_p):
    """``depthwise(x)`` at the positions p and channels c of the map at x, fp32 [BLOCK_P, BLOCK_C]."""
    some = c < channels
    row, column = p // width, p % width
    sums = tl.zeros((p.shape[0], c.shape[0]), tl.float32)
    sums += tl.load(b_dw + c, some, other=0).to(tl.float32)[None, :]
    for tap in range(9):
        r, k = row + tap // 3 - 1, column + tap % 3 - 1
        inside = (r >= 0) & (r < height) & (k >= 0) & (k < width)
        at = (r * width + k).to(tl.int64)[:, None] * stride_p + c.to(tl.int64)[None, :] * stride_c
        value = tl.load(x + at, inside[:, None] & some[None, :], other=0).to(tl.float32)
        sums += value * tl.load(w_dw + c * 9 + tap, some, other=0).to(tl.float32)[None, :]
    return sums


@triton.jit
def _matrix(weight, rows, columns, r, c):
    """A dense ``[rows, columns]`` at the rows r and columns c, zero outside; swapped sizes give it transposed."""
    return tl.load(weight + r[:, None] * columns + c[None, :], (r < rows)[:, None] & (c < columns)[None, :], other=0)


@triton.jit
def _gated(depthwise, w_pw, b_pw, w_a, b_a, channels, outputs, c, d, PRECISION: tl.constexpr):
    """``Y`` and ``A`` in fp32, from the depthwise result in the maps' dtype."""
    weight = tl.trans(_matrix(w_pw, outputs, channels, d, c))
    bias = tl.load(b_pw + d, d < outputs, other=0).to(tl.float32)
    y = product(depthwise, weight, tl.zeros((depthwise.shape[0], d.shape[0]), tl.float32), PRECISION) + bias[None, :]
    weight = tl.trans(_matrix(w_a, outputs, outputs, d, d))
    bias = tl.load(b_a + d, d < outputs, other=0).to(tl.float32)
    logits = product(narrow(y, weight.dtype), weight, tl.zeros((y.shape[0], d.shape[0]), tl.float32), PRECISION)
    return y, sigmoid(logits + bias[None, :])


@triton.jit
def dwpw_attention_fwd_kernel(
    x,  # [N, C, H, W]
    w_dw,  # [C, 9]
    b_dw,  # [C]
    w_pw,  # [D, C]
    b_pw,  # [D]
    w_a,  # [D, D]
    b_a,  # [D]
    residual,  # [N, D, H, W] or None
    y,  # [N, D, H, W]
    channels,
    outputs,
    height,
    width,
    x_stride_c,
    x_stride_p,
    y_stride_c,
    y_stride_p,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    positions = height * width
    parts = tl.cdiv(positions, BLOCK_P)
    n = (tl.program_id(0) // parts).to(tl.int64)
    p = tl.program_id(0) % parts * BLOCK_P + tl.arange(0, BLOCK_P)
    c, d = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_D)
    x += n * channels * positions
    depthwise = narrow(
        _depthwise(x, w_dw, b_dw, p, c, channels, height, width, x_stride_c, x_stride_p), x.dtype.element_ty
    )
    value, gate = _gated(depthwise, w_pw, b_pw, w_a, b_a, channels, outputs, c, d, PRECISION)
    value *= gate
    inside = (p < positions)[:, None] & (d < outputs)[None, :]
    at = n * outputs * positions + p.to(tl.int64)[:, None] * y_stride_p + d.to(tl.int64)[None, :] * y_stride_c
    if residual is not None:
        value += tl.load(residual + at, inside, other=0).to(tl.float32)
    tl.store(y + at, narrow(value, y.dtype.element_ty), inside)


@triton.jit
def dwpw_attention_bwd_kernel(
    grad_y,  # [N, D, H, W]
    x,  # [N, C, H, W]
    w_dw,  # [C, 9]
    b_dw,  # [C]
    w_pw,  # [D, C]
    b_pw,  # [D]
    w_a,  # [D, D]
    b_a,  # [D]
    grad_depthwise,  # [N, C, H, W]
    sums_pw,  # [programs, D, C] fp32
    sums_a,  # [programs, D, D] fp32
    sums_bias,  # [programs, 2, D] fp32, of b_pw and of b_a
    images,
    channels,
    outputs,
    height,
    width,
    x_stride_c,
    x_stride_p,
    y_stride_c,
    y_stride_p,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    positions = height * width
    parts = tl.cdiv(positions, BLOCK_P)
    c, d = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_D)
    dtype = x.dtype.element_ty
    grad_pw = tl.zeros((BLOCK_D, BLOCK_C), tl.float32)
    grad_a = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
    bias_pw = tl.zeros((BLOCK_D,), tl.float32)
    bias_a = tl.zeros((BLOCK_D,), tl.float32)
    for part in range(tl.program_id(0), images * parts, tl.num_programs(0)):
        n = (part // parts).to(tl.int64)
        p = part % parts * BLOCK_P + tl.arange(0, BLOCK_P)
        here = x + n * channels * positions
        depthwise = narrow(_depthwise(here, w_dw, b_dw, p, c, channels, height, width, x_stride_c, x_stride_p), dtype)
        value, gate = _gated(depthwise, w_pw, b_pw, w_a, b_a, channels, outputs, c, d, PRECISION)
        at = n * outputs * positions + p.to(tl.int64)[:, None] * y_stride_p + d.to(tl.int64)[None, :] * y_stride_c
        inside = (p < positions)[:, None] & (d < outputs)[None, :]
        grad = tl.load(grad_y + at, inside, other=0).to(tl.float32)

        to_logits = grad * value * gate * (1 - gate)
        bias_a += tl.sum(to_logits, axis=0)
        to_logits = narrow(to_logits, dtype)
        grad_a = product(tl.trans(to_logits), narrow(value, dtype), grad_a, PRECISION)
        to_value = product(to_logits, _matrix(w_a, outputs, outputs, d, d), grad * gate, PRECISION)
        bias_pw += tl.sum(to_value, axis=0)
        to_value = narrow(to_value, dtype)
        grad_pw = product(tl.trans(to_value), depthwise, grad_pw, PRECISION)
        zero = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
        to_depthwise = product(to_value, _matrix(w_pw, outputs, channels, d, c), zero, PRECISION)
        at = n * channels * positions + p.to(tl.int64)[:, None] * x_stride_p + c.to(tl.int64)[None, :] * x_stride_c
        inside = (p < positions)[:, None] & (c < channels)[None, :]
        tl.store(grad_depthwise + at, narrow(to_depthwise, dtype), inside)

    i = tl.program_id(0)
    inside = (d < outputs)[:, None] & (c < channels)[None, :]
    tl.store(sums_pw + (i * outputs + d[:, None]) * channels + c[None, :], grad_pw, inside)
    inside = (d < outputs)[:, None] & (d < outputs)[None, :]
    tl.store(sums_a + (i * outputs + d[:, None]) * outputs + d[None, :], grad_a, inside)
    tl.store(sums_bias + 2 * i * outputs + d, bias_pw, d < outputs)
    tl.store(sums_bias + (2 * i + 1) * outputs + d, bias_a, d < outputs)


@triton.jit
def dwpw_attention_bwd_stencil_kernel(
    grad_depthwise,  # [N, C, H, W]
    x,  # [N, C, H, W], or None: no gradients of w_dw and b_dw
    w_dw,  # [C, 9]
    grad_x,  # [N, C, H, W] or None
    sums,  # [N * tiles of P, 10, C] fp32: w_dw's nine taps and b_dw
    channels,
    height,
    width,
    stride_c,
    stride_p,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    positions = height * width
    n, part, c, p = tile(channels, positions, BLOCK_C, BLOCK_P)
    some, whole = c < channels, p < positions
    row, column = p // width, p % width
    start = n * channels * positions
    across = c.to(tl.int64)[:, None] * stride_c
    at = start + across + p.to(tl.int64)[None, :] * stride_p
    inside = some[:, None] & whole[None, :]
    sums += (n * tl.cdiv(positions, BLOCK_P) + part) * 10 * channels
    total = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    here = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    if x is not None:
        here += tl.load(grad_depthwise + at, inside, other=0).to(tl.float32)
        tl.store(sums + 9 * channels + c, tl.sum(here, axis=1), some)
    for tap in range(9):
        if grad_x is not None:
            r, k = row - (tap // 3 - 1), column - (tap % 3 - 1)
            there = whole & (r >= 0) & (r < height) & (k >= 0) & (k < width)
            from_there = start + across + (r * width + k).to(tl.int64)[None, :] * stride_p
            grad = tl.load(grad_depthwise + from_there, some[:, None] & there[None, :], other=0).to(tl.float32)
            total += grad * tl.load(w_dw + c * 9 + tap, some, other=0).to(tl.float32)[:, None]
        if x is not None:
            r, k = row + (tap // 3 - 1), column + (tap % 3 - 1)
            there = whole & (r >= 0) & (r < height) & (k >= 0) & (k < width)
            from_there = start + across + (r * width + k).to(tl.int64)[None, :] * stride_p
            value = tl.load(x + from_there, some[:, None] & there[None, :], other=0).to(tl.float32)
            tl.store(sums + tap * channels + c, tl.sum(here * value, axis=1), some)
    if grad_x is not None:
        tl.store(grad_x + at, narrow(total, grad_x.dtype.element_ty), inside)


def dwpw_attention_fwd(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None,
) -> Tensor:
    """``y [N, D, H, W]`` in x's layout; see ``awsrn_fast.ops.dwpw_attention``."""
    of = layout(x)
    x, residual = (None if t is None else t.contiguous(memory_format=of) for t in (x, residual))
    weights = [weight.contiguous() for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)]
    n, c, h, w = x.shape
    d = w_pw.shape[0]
    y = empty(x, d, of)
    gpu = _gpu.gpu(x)
    chosen = FWD(gpu, x.dtype, _checked(x, c, d), of)
    grid = (n * triton.cdiv(h * w, chosen["BLOCK_P"]),)
    step = (*strides(c, h * w, of), *strides(d, h * w, of), precision(x.dtype, gpu.arch))
    dwpw_attention_fwd_kernel[grid](x, *weights, residual, y, c, d, h, w, *step, **chosen)
    return y


def dwpw_attention_bwd(
    grad_y: Tensor,
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """Gradients of x and, in fp32, of the weights; those not requested are empty."""
    of = layout(x)
    grad_y, x = grad_y.contiguous(memory_format=of), x.contiguous(memory_format=of)
    weights = [weight.contiguous() for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)]
    n, c, h, w = x.shape
    d, positions = w_pw.shape[0], h * w
    gpu = _gpu.gpu(x)
    chosen = BWD(gpu, x.dtype, _checked(x, c, d), of)
    programs = min(n * triton.cdiv(positions, chosen["BLOCK_P"]), PROGRAMS)
    grad_depthwise = empty(x, c, of)
    sums_pw, sums_a, sums_bias = (
        torch.empty((programs, *shape), dtype=torch.float32, device=x.device) for shape in ((d, c), (d, d), (2, d))
    )
    outputs = (grad_depthwise, sums_pw, sums_a, sums_bias)
    step = (*strides(c, positions, of), *strides(d, positions, of), precision(x.dtype, gpu.arch))
    dwpw_attention_bwd_kernel[(programs,)](grad_y, x, *weights, *outputs, n, c, d, h, w, *step, **chosen)

    chosen = BWD_STENCIL(gpu, x.dtype, (c,), of)
    blocks = block(c, positions, of, chosen["VALUES"])
    parts = n * triton.cdiv(positions, blocks[1])
    sums_dw = torch.empty((parts, 10, c), dtype=torch.float32, device=x.device)
    grad_x = empty(x, c, of) if wanted[0] else None
    seen = x if wanted[1] or wanted[2] else None
    dwpw_attention_bwd_stencil_kernel[(n * tiles(c, positions, *blocks),)](
        grad_depthwise,
        seen,
        weights[0],
        grad_x,
        sums_dw,
        c,
        h,
        w,
        *strides(c, positions, of),
        *blocks,
        num_warps=chosen["num_warps"],
    )
    # Separate sums for each: an op's outputs must not share memory.
    grads = (
        lambda: grad_x,
        lambda: sums_dw[:, :9].sum(0).t().reshape(c, 1, 3, 3).contiguous(),
        lambda: sums_dw[:, 9].sum(0),
        lambda: sums_pw.sum(0),
        lambda: sums_bias[:, 0].sum(0),
        lambda: sums_a.sum(0),
        lambda: sums_bias[:, 1].sum(0),
    )
    return tuple(grad() if want else x.new_empty(0) for grad, want in zip(grads, wanted, strict=True))


def _checked(x: Tensor, c: int, d: int) -> tuple[int, int]:
    most = dwpw_attention_channels(x.dtype)
    if d > most:
        raise ValueError(f"dwpw_attention: w_pw has {d} rows; in {x.dtype} the triton backend takes at most {most}")
    return c, d


def _tiles(problem: Problem) -> Tiles:
    kernel, gpu, dtype, (c, d), _ = problem
    backward, wide = kernel.endswith("_bwd"), max(c, d) > 32
    block_p = 64
    if gpu.arch and dtype == torch.float32:  # three TF32 products keep twice the operands in registers
        block_p = 16 if backward else 32
    elif backward and wide:
        block_p = 16 if dtype == torch.bfloat16 and gpu.arch.startswith("gfx") else 32  # which would spill
    warps = 8 if wide and gpu.arch.startswith("sm_") else 4  # of 64 threads elsewhere
    return {"BLOCK_C": padded(c), "BLOCK_D": padded(d), "BLOCK_P": block_p, "num_warps": warps, "num_stages": 1}


def _fits(problem: Problem, tiles: Tiles, shared: int) -> bool:
    """Both matrices and, in turn, a tile of each map."""
    matrices = tiles["BLOCK_D"] * (tiles["BLOCK_C"] + tiles["BLOCK_D"])
    maps = tiles["BLOCK_P"] * (tiles["BLOCK_C"] + tiles["BLOCK_D"])
    return (matrices + maps) * problem.dtype.itemsize * tiles["num_stages"] <= shared


def _stencil_tiles(problem: Problem) -> Tiles:
    return {"VALUES": 4096, "num_warps": 4}


FWD = Tiling("dwpw_attention_fwd", _tiles, _fits)
BWD = Tiling("dwpw_attention_bwd", _tiles, _fits)
BWD_STENCIL = Tiling("dwpw_attention_bwd_stencil", _stencil_tiles)
TILINGS = (FWD, BWD, BWD_STENCIL)
