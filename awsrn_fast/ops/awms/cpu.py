"""The CPU kernels of ``awms``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call
from awsrn_fast.ops import _cpu
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address, channels_last, dtype_code, from_taps, in_float32, taps, taps_of_transpose

from .shapes import output, too_wide

ALGORITHM = "nested Winograd F(3x3, 3x3) in F(4x4, 3x3)"


def reasons_against(call: Call) -> list[str]:
    return _cpu.reasons_against(call) + too_wide(call)


def fwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    by_position = memory_format(x) == torch.channels_last
    y = output(x, weight, scale, out_dtype)
    if not y.numel():
        return y
    x, skip = channels_last(x), None if skip is None else channels_last(skip)
    shift = in_float32(bias) * out_scale
    if out_shift is not None:
        shift = shift + in_float32(out_shift).repeat_interleave(scale**2)
    # Without prepared points they are made inside the call, in no tensor.
    points = prepared if prepared is not None and prepared.dtype == torch.uint8 else None
    if points is not None and points.numel() != 4 * _points(weight):
        raise ValueError("awms: prepared was made from a weight of other sizes")
    kernel = taps(weight) if points is None else None
    options = (weight.shape[-1], scale, out_scale, clamp, out_dtype == torch.uint8, by_position)
    tensors = (x, kernel, points, shift, skip, y)
    native.cpu.awms_fwd(_shape(x, weight.shape[0]), *options, *map(address, tensors))
    return y


def prepare(weight: Tensor) -> Tensor:
    """Bytes that mean nothing to PyTorch, so that a cast of a module leaves them as they are."""
    kernel, (o, c, k, _) = taps(weight), weight.shape
    points = torch.empty(_points(weight), dtype=torch.float32, device=weight.device)
    native.cpu.awms_prepare(address(kernel), k, address(points), c, o, torch.get_num_threads())
    return points.view(torch.uint8)


def bwd(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    wanted: list[bool],
) -> list[Tensor | None]:
    if clamp:  # the values before the clamp say where it passes a gradient
        y = fwd(x, weight, bias, skip, scale, out_scale, out_shift, False)
        grad_y = grad_y * ((y >= 0) & (y <= 1))
    want_x, want_weight, want_bias, want_skip, want_shift = wanted
    grads: list[Tensor | None] = [None] * 5
    if want_shift:
        grads[4] = grad_y.sum((0, 2, 3), dtype=torch.float32)
    grad = _unshuffled(grad_y, scale, out_scale)
    seen, outputs = channels_last(x), weight.shape[0]
    if want_x:
        grads[0] = torch.empty_like(seen) if grad.numel() else torch.zeros_like(seen)
        if grad.numel():
            back, k = taps_of_transpose(weight), weight.shape[-1]
            native.cpu.awms_conv(_shape(grad, x.shape[1]), k, *map(address, (grad, back, grads[0])))
    if want_weight or want_bias:
        grad_taps = torch.zeros((9, 9, x.shape[1], outputs), dtype=torch.float32, device=x.device)
        sums = torch.zeros(outputs, dtype=torch.float32, device=x.device)
        if grad.numel():
            tensors = (seen, grad, grad_taps, sums)
            native.cpu.awms_grad_weight(_shape(seen, outputs), *map(address, tensors))
        margin = (9 - weight.shape[-1]) // 2
        inside = slice(margin, 9 - margin)
        grads[1:3] = from_taps(grad_taps[inside, inside], weight) if want_weight else None, sums
    if want_skip:
        grads[3] = grad
    return grads


def _points(weight: Tensor) -> int:
    return native.cpu.awms_points_size(weight.shape[1], weight.shape[0])


def _unshuffled(grad_y: Tensor, scale: int, out_scale: float) -> Tensor:
    """``[N, P, scale*H, scale*W]`` -> the gradient of the convolution's output, ``[N, O, H, W]`` in channels_last."""
    n, planes, high, wide = grad_y.shape
    h, w = high // scale, wide // scale
    grad = (grad_y * out_scale).reshape(n, planes, h, scale, w, scale).permute(0, 2, 4, 1, 3, 5)
    return grad.reshape(n, h, w, planes * scale**2).contiguous().permute(0, 3, 1, 2)  # with scale 1 it is a view


def _shape(x: Tensor, outputs: int) -> tuple[int, int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, outputs, h, w, dtype_code(x.dtype), torch.get_num_threads()
