"""The CPU kernels of ``W x + b`` at every position."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._cpu import address, dtype_code, in_float32, reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    return _product(x, weight.t(), bias, residual)


def bwd(grad_y: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor | None, ...]:
    want_x, *want_values = wanted
    grad_y = grad_y.contiguous()
    grad_x = _product(grad_y, weight, None, None) if want_x else None
    if not any(want_values):
        return grad_x, None, None
    grad_taps = torch.zeros(weight.shape[::-1], dtype=torch.float32, device=x.device)
    grad_bias = torch.zeros(weight.shape[:1], dtype=torch.float32, device=x.device)
    if grad_y.numel():
        tensors = (x.contiguous(), grad_y, grad_taps, grad_bias)
        native.cpu.linear_grad_weight(_shape(x, weight.shape[0]), *map(address, tensors))
    return grad_x, grad_taps.t(), grad_bias


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    """``x weight``, for ``weight [C, O]``."""
    y = torch.empty((*x.shape[:2], weight.shape[1]), dtype=x.dtype, device=x.device)
    if y.numel():
        maps = (x.contiguous(), None if residual is None else residual.contiguous())
        tensors = (maps[0], in_float32(weight), in_float32(bias), maps[1], y)
        native.cpu.linear_fwd(_shape(x, weight.shape[1]), *map(address, tensors))
    return y


def _shape(x: Tensor, outputs: int) -> tuple[int, int, int, int, int]:
    return x.shape[0] * x.shape[1], x.shape[2], outputs, dtype_code(x.dtype), torch.get_num_threads()
