"""The CPU kernels of ``wide_residual``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import (
    address,
    channels_last,
    dtype_code,
    from_taps,
    in_float32,
    reasons_against,
    taps,
    taps_of_transpose,
)
from awsrn_fast.ops.conv3x3.cpu import ALGORITHM
from awsrn_fast.ops.conv3x3.cpu import prepare as prepare_conv3x3
from awsrn_fast.ops.gated_residual import OP as gated_residual

__all__ = ["ALGORITHM", "bwd", "fwd", "prepare", "reasons_against"]


def prepare(w1: Tensor, w2: Tensor) -> Tensor | None:
    """Both weights, ``[K, C, 3, 3]`` and ``[C, K, 3, 3]``, as the kernel takes them; None: there is none.

    The bytes mean nothing to PyTorch, so that a cast of a module leaves them as they are.
    """
    first, second = prepare_conv3x3(w1), prepare_conv3x3(w2)
    return None if first is None or second is None else torch.cat([first, second])


def fwd(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    prepared: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y``, its mean, and the residual ``f`` in NHWC for the backward pass if ``keep``, else empty."""
    layout, seen = memory_format(x), channels_last(x)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    f = torch.empty_like(y) if keep else x.new_empty(0)
    mean = x.new_full(x.shape[:2], float("nan"), dtype=torch.float32)
    if y.numel():
        if prepared is not None and prepared.shape != (4 * _prepared_floats(*w1.shape[:2]),):
            raise ValueError("wide_residual: prepared was made from weights of other sizes than w1 and w2")
        weights = (taps(w1), taps(w2)) if prepared is None else (None, None)
        small = map(in_float32, (b1, b2, gate, x_scale, res_scale))
        tensors = (seen, *weights, prepared, *small, y, f if keep else None, mean)
        native.cpu.wide_residual_fwd(_shape(x, w1), *map(address, tensors))
    return y.contiguous(memory_format=layout), mean.to(x.dtype), f


def bwd(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    f: Tensor,
    wanted: list[bool],
) -> tuple[Tensor | None, ...]:
    want_x, *want_weights, want_gate, want_x_scale, want_res_scale = wanted
    inside = any(want_weights) or want_x
    seen = channels_last(x)
    rest = [want_x, inside, want_gate, want_x_scale, want_res_scale]
    grad_x, grad_f, *others = gated_residual.backward["cpu"](grad_y, grad_mean, seen, f, gate, x_scale, res_scale, rest)
    grads: list[Tensor | None] = [None] * 4
    if inside:
        k, c = w1.shape[:2]
        grad_f, grad_x = channels_last(grad_f), channels_last(grad_x) if want_x else None
        if any(want_weights):
            sizes = ((3, 3, c, k), (k,), (3, 3, k, c), (c,))
            grads = [torch.zeros(size, dtype=torch.float32, device=x.device) for size in sizes]
        if x.numel():
            weights = (taps(w1), in_float32(b1), taps_of_transpose(w1), taps_of_transpose(w2))
            tensors = (seen, grad_f, *weights, grad_x, *grads)
            native.cpu.wide_residual_bwd(_shape(x, w1), *map(address, tensors))
    grad_w1, grad_b1, grad_w2, grad_b2 = grads
    if grad_w1 is not None and grad_w2 is not None:
        grad_w1, grad_w2 = from_taps(grad_w1, w1), from_taps(grad_w2, w2)
    return grad_x, grad_w1, grad_b1, grad_w2, grad_b2, *others


def _prepared_floats(k: int, c: int) -> int:
    return native.cpu.conv3x3_prepared_size(c, k) + native.cpu.conv3x3_prepared_size(k, c)


def _shape(x: Tensor, w1: Tensor) -> tuple[int, int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, w1.shape[0], h, w, dtype_code(x.dtype), torch.get_num_threads()
