"""The CPU kernels of ``gated_residual``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address, dtype_code, in_float32, reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor) -> tuple[Tensor, Tensor]:
    layout = memory_format(x)
    x, f = x.contiguous(memory_format=layout), f.contiguous(memory_format=layout)
    y = torch.empty_like(x, memory_format=layout)
    mean = x.new_empty(x.shape[:2], dtype=torch.float32)
    tensors = (x, f, *map(in_float32, (gate, x_scale, res_scale)), y, mean)
    native.cpu.gated_residual_fwd(_shape(x, layout), *map(address, tensors))
    return y, mean.to(x.dtype)


def bwd(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    f: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    wanted: list[bool],
) -> list[Tensor | None]:
    layout, shape = memory_format(x), _shape(x, memory_format(x))
    want_x, want_f, *want_values = wanted
    of_maps = [torch.empty_like(x, memory_format=layout) if want else None for want in (want_x, want_f)]
    of_values = [
        None if value is None or not want else x.new_empty(value.shape, dtype=torch.float32)
        for value, want in zip((gate, x_scale, res_scale), want_values, strict=True)
    ]
    grads = [*of_maps, *of_values]
    want_gate, want_x_scale, want_res_scale = want_values
    x_read = x.contiguous(memory_format=layout) if want_x_scale else None
    f_read = f.contiguous(memory_format=layout) if want_gate or want_res_scale else None
    grad_y = None if grad_y is None else grad_y.contiguous(memory_format=layout)
    tensors = (grad_y, in_float32(grad_mean), x_read, f_read, *map(in_float32, (gate, x_scale, res_scale)), *grads)
    native.cpu.gated_residual_bwd(shape, *map(address, tensors))
    return grads


def _shape(x: Tensor, layout: torch.memory_format) -> tuple[int, int, int, bool, int, int]:
    n, c, h, w = x.shape
    return n, c, h * w, layout == torch.channels_last, dtype_code(x.dtype), torch.get_num_threads()
