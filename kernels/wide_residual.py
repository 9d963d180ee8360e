"""``wide_residual`` in Triton: two convolutions, the second with gate, scales, residual and mean behind it.

The wide map goes through memory: a program would need a tile of it with its margin, and what a Triton program holds
cannot be read at shifted positions. The map is not kept for backward, which computes it again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import _conv
from ._maps import empty, layout
from .gated_residual import gated_residual_bwd


def wide_residual_fwd(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y [N, C, H, W]`` in x's layout, its mean ``[N, C]`` and, where it is to be kept, the residual before gate and
    scale, ``f [N, C, H, W]`` in channels_last; see ``awsrn_fast.ops.wide_residual``."""
    of = layout(x)
    f = empty(x, x.shape[1], of) if keep else None
    mean = x.new_empty(x.shape[:2])
    wide = _conv.convolve([x], w1, of, bias=b1, relu=True)
    behind = {"plain": f, "residual": x, "gate": gate, "x_scale": x_scale, "res_scale": res_scale, "mean": mean}
    y = _conv.convolve([wide], w2, of, bias=b2, **behind)
    return y, mean, x.new_empty(0) if f is None else f.contiguous(memory_format=torch.channels_last)


def wide_residual_bwd(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    f: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """Gradients of x, w1, b1, w2, b2, gate, x_scale, res_scale, all but x's in fp32; those not requested are empty."""
    want_x, want_w1, want_b1, want_w2, want_b2, *want_small = wanted
    of = layout(x)
    inside = any(wanted[:5])
    rest = [want_x, inside, *want_small]
    grad_x, grad_f, *of_small = gated_residual_bwd(grad_y, grad_mean, x, f, gate, x_scale, res_scale, rest)
    of_weights = [x.new_empty(0) for _ in range(4)]
    if inside:
        x, kernel = x.contiguous(memory_format=of), w1.shape[-1]
        wide = _conv.convolve([x], w1, of, bias=b1, relu=True)
        if want_w2:
            of_weights[2] = _conv.weight_gradient(wide, grad_f, kernel, of)
        if want_b2:
            of_weights[3] = _conv.bias_gradient(grad_f)
        if want_x or want_w1 or want_b1:
            grad_wide = _conv.convolve([grad_f], _conv.mirrored(w2), of, mask=wide)
            if want_w1:
                of_weights[0] = _conv.weight_gradient(x, grad_wide, kernel, of)
            if want_b1:
                of_weights[1] = _conv.bias_gradient(grad_wide)
            if want_x:
                grad_x = _conv.convolve([grad_wide], _conv.mirrored(w1), of, residual=grad_x)
    return grad_x, *of_weights, *of_small


TILINGS = (_conv.FWD, _conv.BWD_WEIGHT)
