"""``gated_residual`` in Triton: one pass over the maps forward, one backward, with partial sums per program."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _gpu
from ._maps import block, empty, layout, strides, tile, tiles
from ._numbers import narrow
from ._tiles import Problem, Tiles, Tiling


@triton.jit
def gated_residual_fwd_kernel(
    x,  # [N, C, P]
    f,  # [N, C, P]
    gate,  # [N, C] or None
    x_scale,  # [1]
    res_scale,  # [1]
    y,  # [N, C, P]
    sums,  # [N, tiles of P, C], each program's sums of y
    channels,
    positions,
    stride_c,
    stride_p,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    n, part, c, p = tile(channels, positions, BLOCK_C, BLOCK_P)
    some = c < channels
    inside = some[:, None] & (p < positions)[None, :]
    at = n * channels * positions + c.to(tl.int64)[:, None] * stride_c + p.to(tl.int64)[None, :] * stride_p
    factor = tl.load(res_scale).to(tl.float32)
    if gate is not None:
        factor *= tl.load(gate + n * channels + c, some, other=0).to(tl.float32)[:, None]
    value = tl.load(x_scale).to(tl.float32) * tl.load(x + at, inside, other=0).to(tl.float32)
    value += factor * tl.load(f + at, inside, other=0).to(tl.float32)
    tl.store(y + at, narrow(value, y.dtype.element_ty), inside)
    row = n * tl.cdiv(positions, BLOCK_P) + part
    tl.store(sums + row * channels + c, tl.sum(value, axis=1), some)


@triton.jit
def gated_residual_bwd_kernel(
    grad_y,  # [N, C, P] or None
    grad_mean,  # [N, C] or None
    x,  # [N, C, P] or None: no gradient of its scale
    f,  # [N, C, P] or None: no gradient of gate and scale
    gate,  # [N, C] or None
    x_scale,  # [1]
    res_scale,  # [1]
    grad_x,  # [N, C, P] or None
    grad_f,  # [N, C, P] or None
    sums,  # [2, N, tiles of P, C], each program's sums of grad * x and of grad * f
    channels,
    positions,
    stride_c,
    stride_p,
    rows,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    n, part, c, p = tile(channels, positions, BLOCK_C, BLOCK_P)
    some = c < channels
    inside = some[:, None] & (p < positions)[None, :]
    at = n * channels * positions + c.to(tl.int64)[:, None] * stride_c + p.to(tl.int64)[None, :] * stride_p
    grad = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    if grad_mean is not None:
        grad += tl.load(grad_mean + n * channels + c, some, other=0).to(tl.float32)[:, None] / positions
    if grad_y is not None:
        grad += tl.load(grad_y + at, inside, other=0).to(tl.float32)
    if grad_x is not None:
        scale = tl.load(x_scale).to(tl.float32)
        tl.store(grad_x + at, narrow(scale * grad, grad_x.dtype.element_ty), inside)
    if grad_f is not None:
        factor = tl.load(res_scale).to(tl.float32)
        if gate is not None:
            factor *= tl.load(gate + n * channels + c, some, other=0).to(tl.float32)[:, None]
        tl.store(grad_f + at, narrow(factor * grad, grad_f.dtype.element_ty), inside)
    row = n * tl.cdiv(positions, BLOCK_P) + part
    if x is not None:
        along_x = tl.sum(grad * tl.load(x + at, inside, other=0).to(tl.float32), axis=1)
        tl.store(sums + row * channels + c, along_x, some)
    if f is not None:
        along_f = tl.sum(grad * tl.load(f + at, inside, other=0).to(tl.float32), axis=1)
        tl.store(sums + (rows + row) * channels + c, along_f, some)


def gated_residual_fwd(
    x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """``y [N, C, H, W]`` in x's layout and ``mean [N, C]``; see ``awsrn_fast.ops.gated_residual``."""
    of = layout(x)
    x, f = x.contiguous(memory_format=of), f.contiguous(memory_format=of)
    gate = None if gate is None else gate.contiguous()
    n, c, positions, blocks, warps = _sizes(FWD, x, of)
    y = empty(x, c, of)
    sums = torch.empty((n, triton.cdiv(positions, blocks[1]), c), dtype=torch.float32, device=x.device)
    grid = (n * tiles(c, positions, *blocks),)
    step = strides(c, positions, of)
    inputs = (x, f, gate, x_scale, res_scale)
    gated_residual_fwd_kernel[grid](*inputs, y, sums, c, positions, *step, *blocks, num_warps=warps)
    return y, (sums.sum(1) / positions).to(x.dtype)


def gated_residual_bwd(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    f: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, f, gate, x_scale, res_scale, the last three in fp32; those not requested are empty."""
    of = layout(x)
    want_x, want_f, want_gate, want_x_scale, want_res_scale = wanted
    n, c, positions, blocks, warps = _sizes(BWD, x, of)
    rows = n * triton.cdiv(positions, blocks[1])
    sums = torch.empty((2, n, triton.cdiv(positions, blocks[1]), c), dtype=torch.float32, device=x.device)
    grad_x = empty(x, c, of) if want_x else None
    grad_f = empty(x, c, of) if want_f else None
    gated_residual_bwd_kernel[(n * tiles(c, positions, *blocks),)](
        None if grad_y is None else grad_y.contiguous(memory_format=of),
        None if grad_mean is None else grad_mean.contiguous(),
        x.contiguous(memory_format=of) if want_x_scale else None,
        f.contiguous(memory_format=of) if want_gate or want_res_scale else None,
        None if gate is None else gate.contiguous(),
        x_scale,
        res_scale,
        grad_x,
        grad_f,
        sums,
        c,
        positions,
        *strides(c, positions, of),
        rows,
        *blocks,
        num_warps=warps,
    )
    grads = [grad_x, grad_f, None, None, None]
    if want_gate or want_res_scale:
        along_f = sums[1].sum(1)  # [N, C]
        grads[2] = along_f * res_scale if want_gate else None
        grads[4] = (along_f if gate is None else along_f * gate).sum().reshape(1) if want_res_scale else None
    if want_x_scale:
        grads[3] = sums[0].sum().reshape(1)
    return tuple(x.new_empty(0) if grad is None else grad for grad in grads)


def _sizes(tiling: Tiling, x: Tensor, of: torch.memory_format) -> tuple[int, int, int, tuple[int, int], int]:
    """N, C, positions, BLOCK_C and BLOCK_P, warps."""
    n, c, h, w = x.shape
    tiles = tiling(_gpu.gpu(x), x.dtype, (c,), of)
    return n, c, h * w, block(c, h * w, of, tiles["VALUES"]), tiles["num_warps"]


def _tiles(problem: Problem) -> Tiles:
    return {"VALUES": 2048, "num_warps": 4}  # 16 values per thread


FWD, BWD = TILINGS = (Tiling("gated_residual_fwd", _tiles), Tiling("gated_residual_bwd", _tiles))
