"""The CPU kernels of ``gated_pair``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address, channels_last, dtype_code, in_float32, reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    n, _, h, w = x0.shape
    shape = (n, weight.shape[0], h, w)
    y = torch.empty(shape, dtype=x0.dtype, device=x0.device, memory_format=torch.channels_last)
    if y.numel():
        maps, values = map(channels_last, (x0, x1)), map(in_float32, (gate, weight, bias))
        tensors = (*maps, *values, y)
        native.cpu.gated_pair_fwd(_shape(x0, weight), *map(address, tensors))
    return y.contiguous(memory_format=memory_format(x0))


def bwd(
    grad_y: Tensor, y: Tensor, x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, ...]:
    want_x0, want_x1, want_gate, *_ = wanted
    of_maps = [
        torch.empty_like(x, memory_format=torch.channels_last) if want else None
        for x, want in ((x0, want_x0), (x1, want_x1))
    ]
    of_values: list[Tensor | None] = [None, None, None]
    if any(wanted[2:]):
        sizes = (None if gate is None or not want_gate else gate.shape, weight.shape, weight.shape[:1])
        of_values = [
            None if size is None else torch.zeros(size, dtype=torch.float32, device=x0.device) for size in sizes
        ]
    if grad_y.numel():
        tensors = (*map(channels_last, (grad_y, y, x0, x1)), in_float32(gate), in_float32(weight), *of_maps, *of_values)
        native.cpu.gated_pair_bwd(_shape(x0, weight), *map(address, tensors))
    return *of_maps, *of_values


def _shape(x: Tensor, weight: Tensor) -> tuple[int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, weight.shape[0], h * w, dtype_code(x.dtype), torch.get_num_threads()
