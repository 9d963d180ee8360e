"""``W x + b`` at every position, for the projections of ``non_local`` on a CPU: the bits of PyTorch's product depend on
the number of threads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._library import define, differentiable, not_differentiable
from awsrn_fast.ops._native import address, dtype_code, in_float32

# x [N, L, C], weight [O, C], bias [O], residual and result [N, L, O].
SCHEMA = "(Tensor x, Tensor weight, Tensor bias, Tensor? residual) -> Tensor"
BWD_SCHEMA = "(Tensor grad, Tensor x, Tensor weight, bool[] wanted) -> (Tensor, Tensor, Tensor)"


def _fwd_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    return _product(x, weight.t(), bias, residual)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    """``x weight``, for ``weight [C, O]``."""
    y = torch.empty((*x.shape[:2], weight.shape[1]), dtype=x.dtype, device=x.device)
    if y.numel():
        maps = (x.contiguous(), None if residual is None else residual.contiguous())
        values = (in_float32(weight), in_float32(bias))
        native.cpu.linear_fwd(_sizes(x, weight.shape[1]), *map(address, (maps[0], *values, maps[1], y)))
    return y


def _fwd_fake(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    return torch.empty((*x.shape[:2], weight.shape[0]), dtype=x.dtype, device=x.device)


def _bwd_cpu(grad: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias. One not wanted is empty: a schema cannot return None."""
    want_x, *want_values = wanted
    grad = grad.contiguous()
    grad_x = _product(grad, weight, None, None) if want_x else x.new_empty(0)
    if not any(want_values):
        return grad_x, x.new_empty(0), x.new_empty(0)
    grad_taps = torch.zeros(weight.shape[::-1], dtype=torch.float32, device=x.device)
    grad_bias = torch.zeros(weight.shape[:1], dtype=torch.float32, device=x.device)
    if grad.numel():
        maps = (x.contiguous(), grad)
        native.cpu.linear_grad_weight(_sizes(x, weight.shape[0]), *map(address, (*maps, grad_taps, grad_bias)))
    return grad_x, grad_taps.t().contiguous().to(weight.dtype), grad_bias.to(weight.dtype)


def _bwd_fake(grad: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    none = x.new_empty(0)
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device) if wanted[0] else none
    if not any(wanted[1:]):
        return grad_x, x.new_empty(0), x.new_empty(0)
    return grad_x, weight.new_empty(weight.shape), weight.new_empty(weight.shape[0])


def _sizes(x: Tensor, outputs: int) -> tuple[int, int, int, int, int]:
    return x.shape[0] * x.shape[1], x.shape[2], outputs, dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *wanted, want_residual = ctx.needs_input_grad
    grads = (None,) * 3 if not any(wanted) else linear_bwd(grad, *ctx.saved_tensors, wanted)
    return *(g if want else None for g, want in zip(grads, wanted, strict=True)), grad if want_residual else None


linear = define("linear", SCHEMA, cpu=_fwd_cpu, fake=_fwd_fake)
linear_bwd = define("linear_bwd", BWD_SCHEMA, cpu=_bwd_cpu, fake=_bwd_fake)
differentiable(linear, _backward, _setup_context)
not_differentiable(linear_bwd)
