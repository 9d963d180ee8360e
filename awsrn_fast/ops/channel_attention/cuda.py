"""The CUDA kernels of ``channel_attention``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._cpu import address
from awsrn_fast.ops._cuda import reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(mean: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    inputs = [_dense(tensor) for tensor in (mean, w1, b1, w2, b2)]
    gate = torch.empty_like(mean, memory_format=torch.contiguous_format)
    hidden = _cuda.workspace(mean.shape[0] * w1.shape[0], mean)
    what = ((*mean.shape, w1.shape[0]), *map(address, (*inputs, gate, hidden)))
    native.cuda.channel_attention_fwd(what, _cuda.dtype_code(mean.dtype), _cuda.target(mean))
    return gate


def bwd(
    grad_gate: Tensor,
    mean: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    wanted: list[bool],
) -> list[Tensor | None]:
    (n, c), r = mean.shape, w1.shape[0]
    inputs = [_dense(tensor) for tensor in (grad_gate, mean, w1, b1, w2, b2)]
    grads = [
        None if tensor is None or not want else torch.empty_like(tensor)
        for tensor, want in zip(inputs[1:], wanted, strict=True)
    ]
    hidden, to_hidden, to_gate = _cuda.workspace(n * (2 * r + c), mean).split([n * r, n * r, n * c])
    what = ((n, c, r), *map(address, (*inputs, *grads, hidden, to_hidden, to_gate)))
    native.cuda.channel_attention_bwd(what, _cuda.dtype_code(mean.dtype), _cuda.target(mean))
    return grads


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
