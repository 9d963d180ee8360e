"""``conv3x3`` in Triton, up to four maps without concatenating them."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _conv
from ._maps import layout


def conv3x3_fwd(
    x: Tensor, weight: Tensor, bias: Tensor, x1: Tensor | None, x2: Tensor | None, x3: Tensor | None
) -> Tensor:
    """``y [N, O, H, W]`` in x's layout; see ``awsrn_fast.ops.conv3x3``."""
    return _conv.convolve(_given(x, x1, x2, x3), weight, layout(x), bias=bias)


def conv3x3_bwd(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    x1: Tensor | None,
    x2: Tensor | None,
    x3: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of all maps, along the channels, of weight and, in fp32, of bias; those not requested are empty."""
    want_maps, want_weight, want_bias = wanted
    of = layout(x)
    grad_y = grad_y.contiguous(memory_format=of)
    grads = [x.new_empty(0) for _ in wanted]
    if want_maps:
        grads[0] = _conv.convolve([grad_y], _conv.mirrored(weight), of)
    if want_weight:
        parts = [
            _conv.weight_gradient(m.contiguous(memory_format=of), grad_y, weight.shape[-1], of)
            for m in _given(x, x1, x2, x3)
        ]
        grads[1] = torch.cat(parts, dim=1)
    if want_bias:
        grads[2] = _conv.bias_gradient(grad_y)
    return tuple(grads)


def _given(*maps: Tensor | None) -> list[Tensor]:
    return [x for x in maps if x is not None]


TILINGS = (_conv.FWD, _conv.BWD_WEIGHT)
