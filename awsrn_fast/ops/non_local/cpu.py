"""The CPU kernels of ``non_local``'s attention."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._cpu import address, dtype_code, reasons_against

from .shapes import attended_and_softmax, shape

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[Tensor, Tensor]:
    qkv = qkv.contiguous()
    attended, softmax = attended_and_softmax(qkv)
    native.cpu.non_local_fwd(_shape(qkv, height, width, block, halo), *map(address, (qkv, attended, softmax)))
    return attended, softmax


def bwd(
    grad_attended: Tensor,
    qkv: Tensor,
    attended: Tensor,
    softmax: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
) -> Tensor:
    grad, qkv, attended = (tensor.contiguous() for tensor in (grad_attended, qkv, attended))
    grad_qkv = torch.empty_like(qkv)
    tensors = (grad, qkv, attended, softmax, grad_qkv)
    native.cpu.non_local_bwd(_shape(qkv, height, width, block, halo), *map(address, tensors))
    return grad_qkv


def _shape(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[int, ...]:
    return *shape(qkv, height, width, block, halo), dtype_code(qkv.dtype), torch.get_num_threads()
