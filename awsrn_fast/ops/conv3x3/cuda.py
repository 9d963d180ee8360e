"""``conv3x3`` by the CUDA kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import channels_last
from awsrn_fast.ops._cuda import reasons_against
from awsrn_fast.ops._cuda_conv import bias_gradient, convolve, mirrored, new_map, packed_parts, weight_gradient

__all__ = ["bwd", "fwd", "reasons_against"]

OP = "conv3x3"


def fwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None = None,
    x2: Tensor | None = None,
    x3: Tensor | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    y = new_map(x, weight.shape[0])
    if y.numel():
        (packed,) = packed_parts(prepared, weight)
        convolve(OP, _given(x, x1, x2, x3), weight, y, bias=bias, packed=packed)
    return y.contiguous(memory_format=memory_format(x))


def bwd(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None,
    x2: Tensor | None,
    x3: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    want_x, *rest = wanted
    grad_x, grad_weight, grad_bias = (x.new_empty(0) for _ in range(3))
    grad_y = channels_last(grad_y)
    if want_x:
        grad_x = new_map(x, weight.shape[1])
        if grad_y.numel():
            convolve(OP, [grad_y], mirrored(weight), grad_x)
        grad_x = grad_x.contiguous(memory_format=memory_format(x))
    if any(rest):
        grad_bias = bias_gradient(grad_y)
        grad_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        if grad_y.numel():
            maps = _given(x, x1, x2, x3)
            weights = weight.split([m.shape[1] for m in maps], dim=1)
            parts = [weight_gradient(m, grad_y, part) for m, part in zip(maps, weights, strict=True)]
            grad_weight = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return grad_x, grad_weight, grad_bias


def _given(*maps: Tensor | None) -> list[Tensor]:
    return [x for x in maps if x is not None]
