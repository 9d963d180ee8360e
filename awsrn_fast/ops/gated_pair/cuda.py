"""``gated_pair`` by the CUDA kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import channels_last
from awsrn_fast.ops._cuda import reasons_against
from awsrn_fast.ops._cuda_conv import bias_gradient, convolve, mirrored, new_map, packed_parts, weight_gradient

__all__ = ["bwd", "fwd", "reasons_against"]

OP = "gated_pair"


def fwd(x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, prepared: Tensor | None) -> Tensor:
    y = new_map(x0, weight.shape[0])
    if y.numel():
        kernel = weight[:, :, None, None]
        (packed,) = packed_parts(prepared, kernel)
        convolve(OP, [x0, x1], kernel, y, packed=packed, input_gate=gate, bias=bias, relu=True)
    return y.contiguous(memory_format=memory_format(x0))


def bwd(
    grad_y: Tensor, y: Tensor, x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor, ...]:
    maps, formats = (channels_last(x0), channels_last(x1)), (memory_format(x0), memory_format(x1))
    want_maps, want_gate, want_values = wanted[:2], wanted[2], any(wanted[2:])
    grads = [x0.new_empty(0) for _ in wanted]
    c = x0.shape[1]
    grad = channels_last(grad_y) * (channels_last(y) > 0)
    joined = new_map(x0, 2 * c)  # the gradient of both maps before their gates
    if grad.numel() and (any(want_maps) or want_gate):
        convolve(OP, [grad], mirrored(weight[:, :, None, None]), joined)
    gates = (None, None) if gate is None else gate[:, :, None, None].chunk(2, dim=1)
    for i, (part, factor) in enumerate(zip(joined.chunk(2, dim=1), gates, strict=True)):
        if want_maps[i]:
            passed = part if factor is None else (part * factor).to(part.dtype)
            grads[i] = passed.clone(memory_format=torch.channels_last).contiguous(memory_format=formats[i])
    if want_gate and gate is not None:
        parts = zip(maps, joined.chunk(2, dim=1), strict=True)
        of_gate = [torch.einsum("nchw,nchw->nc", x.float(), part.float()) for x, part in parts]
        grads[2] = torch.cat(of_gate, dim=1)
    if want_values:
        gated = [x if g is None else (x * g).to(x.dtype) for x, g in zip(maps, gates, strict=True)]
        halves = weight[:, :, None, None].chunk(2, dim=1)
        if grad.numel():
            of_weight = [weight_gradient(x, grad, part).flatten(1) for x, part in zip(gated, halves, strict=True)]
            grads[3] = torch.cat(of_weight, dim=1)
        else:
            grads[3] = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        grads[4] = bias_gradient(grad)
    return tuple(grads)
