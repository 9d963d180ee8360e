"""``gated_pair`` in Triton: a 1x1 convolution of two maps, whose gates are applied as they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _conv
from ._maps import empty, layout


def gated_pair_fwd(x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """``y [N, O, H, W]`` in x0's layout; see ``awsrn_fast.ops.gated_pair``."""
    kernel = weight[:, :, None, None]
    return _conv.convolve([x0, x1], kernel, layout(x0), input_gate=gate, bias=bias, relu=True)


def gated_pair_bwd(
    grad_y: Tensor, y: Tensor, x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor, ...]:
    """Gradients of x0, x1 and, in fp32, of gate, weight and bias; those not requested are empty."""
    want_x0, want_x1, want_gate, want_weight, want_bias = wanted
    of, c = layout(x0), x0.shape[1]
    maps = [x.contiguous(memory_format=of) for x in (x0, x1)]
    grad = (grad_y * (y > 0)).contiguous(memory_format=of)
    grads = [x0.new_empty(0) for _ in wanted]
    if want_x0 or want_x1 or want_gate:
        # Of both maps along the channels, and the same before the gates.
        plain = empty(x0, 2 * c, of) if want_gate else None
        joined = _conv.convolve([grad], _conv.mirrored(weight[:, :, None, None]), of, gate=gate, plain=plain)
        for i, want in enumerate((want_x0, want_x1)):
            grads[i] = joined[:, i * c : (i + 1) * c].clone(memory_format=of) if want else grads[i]
        if want_gate:
            parts = zip(maps, plain.split(c, dim=1), strict=True)
            grads[2] = torch.cat([(x.float() * part.float()).sum((2, 3)) for x, part in parts], dim=1)
    if want_weight:
        gates = (None, None) if gate is None else gate.split(c, dim=1)
        parts = [_conv.weight_gradient(x, grad, 1, of, factor) for x, factor in zip(maps, gates, strict=True)]
        grads[3] = torch.cat(parts, dim=1).flatten(1)
    if want_bias:
        grads[4] = _conv.bias_gradient(grad)
    return tuple(grads)


TILINGS = (_conv.FWD, _conv.BWD_WEIGHT)
