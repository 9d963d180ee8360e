"""``conv3x3`` for torch.library: schema, fake, backward, and the native CPU kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _native
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._library import define, differentiable, not_differentiable
from awsrn_fast.ops._native import address, channels_last, dtype_code, from_taps, in_float32, taps, taps_of_transpose

SCHEMA = "(Tensor x, Tensor weight, Tensor bias) -> Tensor"
BWD_SCHEMA = "(Tensor grad_y, Tensor x, Tensor weight, Tensor bias, bool[] wanted) -> (Tensor, Tensor, Tensor)"

LEAST_CHANNELS = 16
"""Below a vector of input channels the transforms cost more than the products that they save."""


def reasons_against(call: backends.Call) -> list[str]:
    """Why the native kernel cannot run ``call``; empty if it can."""
    few = call.shape[1] < LEAST_CHANNELS
    return _native.reasons_against(call) + ([f"fewer than {LEAST_CHANNELS} channels"] if few else [])


def _fwd_cpu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _convolved(x, taps(weight), bias, weight.shape[0])


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor | None, outputs: int) -> Tensor:
    seen, shift = channels_last(x), in_float32(bias)
    y = torch.empty(_shape(x, outputs), dtype=x.dtype, memory_format=torch.channels_last)
    if y.numel():
        native.cpu.conv3x3_fwd(*map(address, (seen, kernel, shift, y)), *_sizes(x, outputs))
    return y.contiguous(memory_format=memory_format(x))


def _fwd_fake(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    shape = _shape(x, weight.shape[0])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _bwd_cpu(
    grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias. One that is not wanted is empty: a schema cannot return None."""
    want_x, want_weight, want_bias = wanted
    outputs, none = weight.shape[0], x.new_empty(0)
    grad_y = channels_last(grad_y)
    grad_x = none
    if want_x:
        grad_x = _convolved(grad_y, taps_of_transpose(weight), None, x.shape[1])
        grad_x = grad_x.contiguous(memory_format=memory_format(x))
    if not (want_weight or want_bias):
        return grad_x, none.clone(), none.clone()
    grad_taps, sums = torch.zeros(3, 3, x.shape[1], outputs), torch.zeros(outputs)
    if grad_y.numel():
        seen = channels_last(x)
        native.cpu.conv3x3_grad_weight(*map(address, (seen, grad_y, grad_taps, sums)), *_sizes(x, outputs))
    return grad_x, from_taps(grad_taps, weight), sums.to(bias.dtype)


def _bwd_fake(
    grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x = torch.empty_like(x, memory_format=memory_format(x)) if wanted[0] else x.new_empty(0)
    if not any(wanted[1:]):
        return grad_x, x.new_empty(0), x.new_empty(0)
    layout = torch.contiguous_format
    return grad_x, torch.empty_like(weight, memory_format=layout), torch.empty_like(bias, memory_format=layout)


def _shape(x: Tensor, outputs: int) -> tuple[int, int, int, int]:
    return x.shape[0], outputs, *x.shape[2:]


def _sizes(x: Tensor, outputs: int) -> tuple[int, int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, outputs, h, w, dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad)
    grads = conv3x3_bwd(grad_y, *ctx.saved_tensors, wanted)
    return tuple(grad if want else None for grad, want in zip(grads, wanted, strict=True))


conv3x3 = define("conv3x3", SCHEMA, cpu=_fwd_cpu, fake=_fwd_fake)
conv3x3_bwd = define("conv3x3_bwd", BWD_SCHEMA, cpu=_bwd_cpu, fake=_bwd_fake)
differentiable(conv3x3, _backward, _setup_context)
not_differentiable(conv3x3_bwd)
backends.register("conv3x3", "native", conv3x3, reasons_against, algorithm="Winograd F(4x4, 3x3)")
