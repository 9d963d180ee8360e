"""The CPU kernels of ``conv3x3``."""

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

__all__ = ["ALGORITHM", "bwd", "fwd", "prepare", "reasons_against"]

ALGORITHM = "Winograd F(4x4, 3x3), in bf16 with products in 16-bit fixed point where the CPU has VNNI"

WHOLE_VECTOR = 16
"""Of several maps, each has a multiple of so many channels."""


def prepare(weight: Tensor) -> Tensor | None:
    """``[O, C, 3, 3]`` as the kernel takes it; None: there is none, or it would not run.

    The bytes mean nothing to PyTorch, so that a cast of a module leaves them as they are.
    """
    if native.cpu is None or weight.device.type != "cpu":
        return None
    o, c = weight.shape[:2]
    kernel, floats = taps(weight.detach()), native.cpu.conv3x3_prepared_size(c, o)
    points = torch.empty(floats, dtype=torch.float32, device=weight.device)
    native.cpu.conv3x3_prepare(address(kernel), address(points), c, o, torch.get_num_threads())
    return points.view(torch.uint8)


def fwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None = None,
    x2: Tensor | None = None,
    x3: Tensor | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    outputs, channels = weight.shape[:2]
    if prepared is not None and prepared.shape != (4 * native.cpu.conv3x3_prepared_size(channels, outputs),):
        raise ValueError("conv3x3: prepared was made from a weight of another size than weight")
    kernel = taps(weight) if prepared is None else None
    return _convolved(_maps(x, x1, x2, x3), kernel, bias, outputs, prepared).contiguous(memory_format=memory_format(x))


def bwd(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None,
    x2: Tensor | None,
    x3: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    want_x, want_weight, want_bias = wanted
    outputs, channels = weight.shape[:2]
    grad_y = channels_last(grad_y)
    grad_x = _convolved([grad_y], taps_of_transpose(weight), None, channels) if want_x else None
    if not (want_weight or want_bias):
        return grad_x, None, None
    sums = torch.zeros(outputs, dtype=torch.float32, device=x.device)
    grad_taps = sums.new_zeros(3, 3, channels, outputs)
    if grad_y.numel():
        maps = _maps(x, x1, x2, x3)
        results = map(address, (grad_y, grad_taps, sums))
        native.cpu.conv3x3_grad_weight(_shape(maps, outputs), _inputs(maps), *results)
    return grad_x, from_taps(grad_taps, weight), sums


def _maps(*maps: Tensor | None) -> list[Tensor]:
    """The maps in NHWC; the kernel takes several where each has whole vectors of channels."""
    given = [x for x in maps if x is not None]
    if len(given) > 1 and any(x.shape[1] % WHOLE_VECTOR for x in given):
        given = [torch.cat(given, dim=1)]
    return [channels_last(x) for x in given]


def _convolved(
    maps: list[Tensor], kernel: Tensor | None, bias: Tensor | None, outputs: int, prepared: Tensor | None = None
) -> Tensor:
    """The convolution's output, in NHWC."""
    x, shift = maps[0], in_float32(bias)
    n, _, h, w = x.shape
    y = torch.empty((n, outputs, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if y.numel():
        native.cpu.conv3x3_fwd(_shape(maps, outputs), _inputs(maps), *map(address, (kernel, prepared, shift, y)))
    return y


def _inputs(maps: list[Tensor]) -> tuple[int, ...]:
    """Number of maps, the addresses of four, and their channels."""
    lacking = (0,) * (4 - len(maps))
    return len(maps), *map(address, maps), *lacking, *(x.shape[1] for x in maps), *lacking


def _shape(maps: list[Tensor], outputs: int) -> tuple[int, int, int, int, int, int, int]:
    n, _, h, w = maps[0].shape
    channels = sum(x.shape[1] for x in maps)
    return n, channels, outputs, h, w, dtype_code(maps[0].dtype), torch.get_num_threads()
