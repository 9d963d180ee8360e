"""The CUDA kernels of ``gated_residual``: gate and scales in fp32 or in the maps' dtype."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address
from awsrn_fast.ops._cuda import reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor) -> tuple[Tensor, Tensor]:
    layout = memory_format(x)
    x, f = x.contiguous(memory_format=layout), f.contiguous(memory_format=layout)
    gate = None if gate is None else gate.contiguous()
    y, mean = torch.empty_like(x, memory_format=layout), x.new_empty(x.shape[:2])
    maps = _maps(x, layout)
    workspace = _cuda.workspace(native.cuda.gated_residual_workspace(*maps), x)
    values, results = map(_cuda.values_of, (gate, x_scale, res_scale)), map(address, (y, mean, workspace))
    what = (maps, address(x), address(f), *values, *results)
    native.cuda.gated_residual_fwd(what, _cuda.dtype_code(x.dtype), _cuda.target(x))
    return y, mean


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
    layout = memory_format(x)
    # Both maps' in one layout, those of the values in fp32.
    grads = [torch.empty_like(x, memory_format=layout) if want else None for want in wanted[:2]]
    for value, want in zip((gate, x_scale, res_scale), wanted[2:], strict=True):
        grads.append(None if value is None or not want else x.new_empty(value.shape, dtype=torch.float32))
    _, _, want_gate, want_x_scale, want_res_scale = wanted
    maps, dtype, target = _maps(x, layout), _cuda.dtype_code(x.dtype), _cuda.target(x)
    workspace = _cuda.workspace(native.cuda.gated_residual_workspace(*maps), x)
    x_read = x.contiguous(memory_format=layout) if want_x_scale else None
    f_read = f.contiguous(memory_format=layout) if want_gate or want_res_scale else None
    grad_y = None if grad_y is None else grad_y.contiguous(memory_format=layout)
    grad_mean = None if grad_mean is None else grad_mean.contiguous()
    gate = None if gate is None else gate.contiguous()
    values = map(_cuda.values_of, (gate, x_scale, res_scale))
    what = (maps, *map(address, (grad_y, grad_mean, x_read, f_read)), *values, *map(address, (*grads, workspace)))
    native.cuda.gated_residual_bwd(what, dtype, target)
    return grads


def _maps(x: Tensor, layout: torch.memory_format) -> tuple[int, int, int, bool]:
    n, c, h, w = x.shape
    return n, c, h * w, layout == torch.channels_last
