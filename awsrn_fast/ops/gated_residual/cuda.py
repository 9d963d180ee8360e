"""The CUDA kernels of ``gated_residual``: every value is read and written in the maps' dtype."""

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
    tensors = (x, f, gate, x_scale, res_scale, y, mean, workspace)
    native.cuda.gated_residual_fwd((maps, *map(address, tensors)), _cuda.dtype_code(x.dtype), _cuda.target(x))
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
    like = (x, x, gate, x_scale, res_scale)  # both maps' in one layout
    grads = [
        None
        if t is None or not want
        else torch.empty_like(t, memory_format=layout if t.dim() == 4 else torch.contiguous_format)
        for t, want in zip(like, wanted, strict=True)
    ]
    _, _, want_gate, want_x_scale, want_res_scale = wanted
    maps, dtype, target = _maps(x, layout), _cuda.dtype_code(x.dtype), _cuda.target(x)
    workspace = _cuda.workspace(native.cuda.gated_residual_workspace(*maps), x)
    x_read = x.contiguous(memory_format=layout) if want_x_scale else None
    f_read = f.contiguous(memory_format=layout) if want_gate or want_res_scale else None
    grad_y = None if grad_y is None else grad_y.contiguous(memory_format=layout)
    grad_mean = None if grad_mean is None else grad_mean.contiguous()
    gate = None if gate is None else gate.contiguous()
    tensors = (grad_y, grad_mean, x_read, f_read, gate, x_scale, res_scale, *grads, workspace)
    native.cuda.gated_residual_bwd((maps, *map(address, tensors)), dtype, target)
    return grads


def _maps(x: Tensor, layout: torch.memory_format) -> tuple[int, int, int, bool]:
    n, c, h, w = x.shape
    return n, c, h * w, layout == torch.channels_last
