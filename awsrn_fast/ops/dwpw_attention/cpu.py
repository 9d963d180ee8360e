"""The CPU kernels of ``dwpw_attention``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address, addresses, dtype_code, in_float32, reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]


def fwd(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None,
) -> Tensor:
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    residual = None if residual is None else residual.contiguous(memory_format=layout)
    weights = [in_float32(weight) for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)]
    n, _, h, w = x.shape
    y = torch.empty((n, w_pw.shape[0], h, w), dtype=x.dtype, device=x.device, memory_format=layout)
    shape = _shape(x, w_pw, layout)
    native.cpu.dwpw_attention_fwd(shape, address(x), addresses(*weights), address(residual), address(y))
    return y


def bwd(
    grad_y: Tensor,
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    wanted: list[bool],
) -> tuple[Tensor | None, ...]:
    layout = memory_format(x)
    grad_y, x = grad_y.contiguous(memory_format=layout), x.contiguous(memory_format=layout)
    weights = [in_float32(weight) for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)]
    transposed = [weight.t().contiguous() for weight in (weights[2], weights[4])]
    grad_x = torch.empty_like(x, memory_format=layout) if wanted[0] else None
    # The weights' gradients share their work: all of them, or none.
    grads = [torch.empty_like(weight) if any(wanted[1:]) else None for weight in weights]
    given, results = (*addresses(grad_y, x), addresses(*weights), *addresses(*transposed)), addresses(grad_x, *grads)
    native.cpu.dwpw_attention_bwd(_shape(x, w_pw, layout), *given, *results)
    return grad_x, *grads


def _shape(x: Tensor, w_pw: Tensor, layout: torch.memory_format) -> tuple[int, int, int, int, int, bool, int, int]:
    n, c, h, w = x.shape
    channels_last = layout == torch.channels_last
    return n, c, w_pw.shape[0], h, w, channels_last, dtype_code(x.dtype), torch.get_num_threads()
