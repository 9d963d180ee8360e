"""``wide_residual`` by the CUDA kernels: one for the networks' sizes, else two convolutions."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address, channels_last
from awsrn_fast.ops._cuda import reasons_against
from awsrn_fast.ops._cuda_conv import (
    bias_gradient,
    convolve,
    mirrored,
    new_map,
    packed_anyway,
    rows,
    weight_gradient,
)
from awsrn_fast.ops.gated_residual.cuda import bwd as gated_residual_bwd

__all__ = ["bwd", "fwd", "reasons_against"]

OP = "wide_residual"


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
    c, seen = x.shape[1], channels_last(x)
    y, f = new_map(x, c), new_map(x, c) if keep else None
    mean = x.new_empty(x.shape[:2]) if y.numel() else x.new_full(x.shape[:2], float("nan"))
    if y.numel():
        first, second = packed_anyway(prepared, w1, w2)
        if native.cuda.wide_residual_is_fused(_cuda.target(x)[2], c, w1.shape[0], _cuda.dtype_code(x.dtype)):
            _fused(rows(x), (first, second), (b1, b2, gate, x_scale, res_scale), y, f, mean)
        else:
            wide = _wide(seen, w1, b1, first)
            convolve(
                OP,
                [wide],
                w2,
                y,
                packed=second,
                bias=b2,
                plain=f,
                residual=seen,
                gate=gate,
                x_scale=x_scale,
                res_scale=res_scale,
                mean=mean,
            )
    return y.contiguous(memory_format=memory_format(x)), mean, x.new_empty(0) if f is None else f


def _fused(
    x: Tensor,
    packed: tuple[Tensor, Tensor],
    small: tuple[Tensor | None, ...],
    y: Tensor,
    f: Tensor | None,
    mean: Tensor,
) -> None:
    """The whole unit into ``y``, ``f`` and ``mean``, without a wide map in memory."""
    (n, _, h, w), (first, second) = x.shape, packed
    workspace = _cuda.workspace(native.cuda.wide_residual_workspace(n, h, w), x)
    small = tuple(None if t is None else t.contiguous() for t in small)
    b1, b2, *factors = map(_cuda.values_of, small)
    maps = (address(x), address(second), b2, address(f), *factors, *map(address, (y, mean, workspace)))
    where = (n, h, w, _cuda.dtype_code(x.dtype), *_cuda.target(x))
    native.cuda.wide_residual_fwd(address(first), b1, *maps, *where)


def _wide(x: Tensor, w1: Tensor, b1: Tensor, packed: Tensor | None = None) -> Tensor:
    wide = new_map(x, w1.shape[0])
    convolve(OP, [x], w1, wide, packed=packed, bias=b1, relu=True)
    return wide


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
    want_w1, want_b1, want_w2, want_b2 = want_weights
    inside = want_x or any(want_weights)
    seen = channels_last(x)
    rest = [want_x, inside, want_gate, want_x_scale, want_res_scale]
    grad_x, grad_f, *others = gated_residual_bwd(grad_y, grad_mean, seen, f, gate, x_scale, res_scale, rest)
    given = zip((w1, b1, w2, b2), want_weights, strict=True)
    of_weights = [w.new_zeros(w.shape) if want else x.new_empty(0) for w, want in given]
    if grad_f is not None and x.numel():
        grad_f, wide = channels_last(grad_f), _wide(seen, w1, b1)
        if want_w2:
            of_weights[2] = weight_gradient(wide, grad_f, w2)
        if want_b2:
            of_weights[3] = bias_gradient(grad_f)
        if want_x or want_w1 or want_b1:
            grad_wide = new_map(x, w1.shape[0])
            convolve(OP, [grad_f], mirrored(w2), grad_wide, mask=wide)
            if want_w1:
                of_weights[0] = weight_gradient(seen, grad_wide, w1)
            if want_b1:
                of_weights[1] = bias_gradient(grad_wide)
            if grad_x is not None:
                passed, grad_x = channels_last(grad_x), new_map(x, x.shape[1])
                convolve(OP, [grad_wide], mirrored(w1), grad_x, residual=passed)
    return grad_x, *of_weights, *others
