"""``channel_attention`` in Triton: one program per image, and a second backward kernel for the weights' gradients."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _gpu
from ._numbers import narrow, sigmoid
from ._tiles import Problem, Tiles, Tiling

VALUES = 4096
"""Most weights that a program loads at once."""


@triton.jit
def _hidden(mean, w1, b1, n, channels, hidden, BLOCK_C: tl.constexpr, BLOCK_R: tl.constexpr):
    """``w1 mean + b1`` of image n, [BLOCK_R]."""
    r = tl.arange(0, BLOCK_R)
    sums = tl.zeros((BLOCK_R,), tl.float32)
    if b1 is not None:
        sums += tl.load(b1 + r, r < hidden, other=0).to(tl.float32)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        some = c < channels
        weight = tl.load(w1 + r[:, None] * channels + c[None, :], (r < hidden)[:, None] & some[None, :], other=0)
        value = tl.load(mean + n * channels + c, some, other=0).to(tl.float32)
        sums += tl.sum(weight.to(tl.float32) * value[None, :], axis=1)
    return sums


@triton.jit
def channel_attention_fwd_kernel(
    mean,  # [N, C]
    w1,  # [R, C]
    b1,  # [R] or None
    w2,  # [C, R]
    b2,  # [C] or None
    gate,  # [N, C]
    channels,
    hidden,
    BLOCK_C: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    r = tl.arange(0, BLOCK_R)
    active = tl.maximum(_hidden(mean, w1, b1, n, channels, hidden, BLOCK_C, BLOCK_R), 0)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        some = c < channels
        weight = tl.load(w2 + c[:, None] * hidden + r[None, :], some[:, None] & (r < hidden)[None, :], other=0)
        logits = tl.sum(weight.to(tl.float32) * active[None, :], axis=1)
        if b2 is not None:
            logits += tl.load(b2 + c, some, other=0).to(tl.float32)
        tl.store(gate + n * channels + c, narrow(sigmoid(logits), gate.dtype.element_ty), some)


@triton.jit
def channel_attention_bwd_kernel(
    grad_gate,  # [N, C]
    mean,  # [N, C]
    w1,  # [R, C]
    b1,  # [R] or None
    w2,  # [C, R]
    b2,  # [C] or None
    grad_mean,  # [N, C]
    active,  # [N, R] fp32, relu(w1 mean + b1)
    to_hidden,  # [N, R] fp32, gradient of w1 mean + b1
    to_gate,  # [N, C] fp32, gradient of the logits
    channels,
    hidden,
    BLOCK_C: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    r = tl.arange(0, BLOCK_R)
    before = _hidden(mean, w1, b1, n, channels, hidden, BLOCK_C, BLOCK_R)
    after = tl.maximum(before, 0)
    back = tl.zeros((BLOCK_R,), tl.float32)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        some = c < channels
        weight = tl.load(w2 + c[:, None] * hidden + r[None, :], some[:, None] & (r < hidden)[None, :], other=0)
        weight = weight.to(tl.float32)
        logits = tl.sum(weight * after[None, :], axis=1)
        if b2 is not None:
            logits += tl.load(b2 + c, some, other=0).to(tl.float32)
        value = sigmoid(logits)
        grad = tl.load(grad_gate + n * channels + c, some, other=0).to(tl.float32) * value * (1 - value)
        tl.store(to_gate + n * channels + c, grad, some)
        back += tl.sum(weight * grad[:, None], axis=0)
    back = tl.where(before > 0, back, 0)
    tl.store(active + n * hidden + r, after, r < hidden)
    tl.store(to_hidden + n * hidden + r, back, r < hidden)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        some = c < channels
        weight = tl.load(w1 + r[:, None] * channels + c[None, :], (r < hidden)[:, None] & some[None, :], other=0)
        grad = tl.sum(weight.to(tl.float32) * back[:, None], axis=0)
        tl.store(grad_mean + n * channels + c, narrow(grad, grad_mean.dtype.element_ty), some)


@triton.jit
def channel_attention_bwd_weights_kernel(
    mean,  # [N, C]
    active,  # [N, R] fp32
    to_hidden,  # [N, R] fp32
    to_gate,  # [N, C] fp32
    grad_w1,  # [R, C]
    grad_w2,  # [C, R]
    images,
    channels,
    hidden,
    BLOCK_C: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    r = tl.arange(0, BLOCK_R)
    some = c < channels
    sums_1 = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    sums_2 = tl.zeros((BLOCK_C, BLOCK_R), tl.float32)
    for n in range(images):
        value = tl.load(mean + n * channels + c, some, other=0).to(tl.float32)
        back = tl.load(to_hidden + n * hidden + r, r < hidden, other=0)
        sums_1 += back[:, None] * value[None, :]
        grad = tl.load(to_gate + n * channels + c, some, other=0)
        after = tl.load(active + n * hidden + r, r < hidden, other=0)
        sums_2 += grad[:, None] * after[None, :]
    inside = some[:, None] & (r < hidden)[None, :]
    tl.store(grad_w1 + r[:, None] * channels + c[None, :], narrow(sums_1, grad_w1.dtype.element_ty), tl.trans(inside))
    tl.store(grad_w2 + c[:, None] * hidden + r[None, :], narrow(sums_2, grad_w2.dtype.element_ty), inside)


def channel_attention_fwd(mean: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    """``gate [N, C]``; see ``awsrn_fast.ops.channel_attention``."""
    mean, w1, b1, w2, b2 = (_dense(tensor) for tensor in (mean, w1, b1, w2, b2))
    gate = torch.empty_like(mean)
    channel_attention_fwd_kernel[(mean.shape[0],)](mean, w1, b1, w2, b2, gate, **_sizes(FWD, w1))
    return gate


def channel_attention_bwd(
    grad_gate: Tensor,
    mean: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of mean, w1, b1, w2, b2 in mean's dtype; those not requested are empty."""
    grad_gate, mean, w1, b1, w2, b2 = (_dense(tensor) for tensor in (grad_gate, mean, w1, b1, w2, b2))
    (n, channels), hidden = mean.shape, w1.shape[0]
    grad_mean = torch.empty_like(mean)
    active, to_hidden = torch.empty((2, n, hidden), dtype=torch.float32, device=mean.device)
    to_gate = torch.empty((n, channels), dtype=torch.float32, device=mean.device)
    inputs = (grad_gate, mean, w1, b1, w2, b2)
    channel_attention_bwd_kernel[(n,)](*inputs, grad_mean, active, to_hidden, to_gate, **_sizes(BWD, w1))
    grads = [grad_mean, None, None, None, None]
    if wanted[1] or wanted[3]:
        grads[1], grads[3] = torch.empty_like(w1), torch.empty_like(w2)
        sizes = _sizes(BWD_WEIGHTS, w1)
        channel_attention_bwd_weights_kernel[(triton.cdiv(channels, sizes["BLOCK_C"]),)](
            mean, active, to_hidden, to_gate, grads[1], grads[3], n, **sizes
        )
    grads[2] = to_hidden.sum(0).to(mean.dtype) if wanted[2] else None
    grads[4] = to_gate.sum(0).to(mean.dtype) if wanted[4] else None
    return tuple(grad if want else mean.new_empty(0) for grad, want in zip(grads, wanted, strict=True))


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _sizes(tiling: Tiling, w1: Tensor) -> dict[str, int]:
    """Channels, their blocks and the launch options, by the names of the kernel's arguments."""
    hidden, channels = w1.shape
    block_r = triton.next_power_of_2(hidden)
    block_c = min(triton.next_power_of_2(channels), max(VALUES // block_r, 1))
    sizes = {"channels": channels, "hidden": hidden, "BLOCK_C": block_c, "BLOCK_R": block_r}
    return sizes | tiling(_gpu.gpu(w1), w1.dtype, (channels, hidden))


def _tiles(problem: Problem) -> Tiles:
    return {"num_warps": 4}


FWD, BWD, BWD_WEIGHTS = TILINGS = tuple(
    Tiling(f"channel_attention_{name}", _tiles) for name in ("fwd", "bwd", "bwd_weights")
)
