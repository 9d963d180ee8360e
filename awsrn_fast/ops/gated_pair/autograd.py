"""``gated_pair`` for torch.library: schema, fake, backward, and the native CPU kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._library import define, differentiable, not_differentiable
from awsrn_fast.ops._native import address, channels_last, dtype_code, in_float32, reasons_against

from . import cuda

SCHEMA = "(Tensor x0, Tensor x1, Tensor? gate, Tensor weight, Tensor bias) -> Tensor"
BWD_SCHEMA = (
    "(Tensor grad_y, Tensor y, Tensor x0, Tensor x1, Tensor? gate, Tensor weight, bool[] wanted) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _fwd_cpu(x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    y = torch.empty(_shape(x0, weight), dtype=x0.dtype, memory_format=torch.channels_last)
    if y.numel():
        maps, values = map(channels_last, (x0, x1)), map(in_float32, (gate, weight, bias))
        tensors = (*maps, *values, y)
        native.cpu.gated_pair_fwd(*map(address, tensors), *_sizes(x0, weight))
    return y.contiguous(memory_format=memory_format(x0))


def _fwd_fake(x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    shape = _shape(x0, weight)
    return torch.empty(shape, dtype=x0.dtype, device=x0.device, memory_format=memory_format(x0))


def _bwd_cpu(
    grad_y: Tensor, y: Tensor, x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x0, x1, gate, weight and bias. One not wanted is empty: a schema cannot return None."""
    formats = memory_format(x0), memory_format(x1)
    of_maps = [
        torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last) if want else None
        for x, want in zip((x0, x1), wanted, strict=False)
    ]
    of_values: list[Tensor | None] = [None, None, None]
    if any(wanted[2:]):
        sizes = (gate.shape if wanted[2] else None, weight.shape, weight.shape[:1])
        of_values = [None if size is None else torch.zeros(size) for size in sizes]
    if grad_y.numel():
        tensors = (*map(channels_last, (grad_y, y, x0, x1)), in_float32(gate), in_float32(weight), *of_maps, *of_values)
        native.cpu.gated_pair_bwd(*map(address, tensors), *_sizes(x0, weight))
    of_maps = [g if g is None else g.contiguous(memory_format=f) for g, f in zip(of_maps, formats, strict=True)]
    return tuple(x0.new_empty(0) if g is None else g.to(x0.dtype) for g in (*of_maps, *of_values))


def _bwd_fake(
    grad_y: Tensor, y: Tensor, x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    maps = [
        torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x)) if want else x.new_empty(0)
        for x, want in zip((x0, x1), wanted, strict=False)
    ]
    of_gate = x0.new_empty(gate.shape if wanted[2] else 0)
    summed = any(wanted[2:])
    return *maps, of_gate, x0.new_empty(weight.shape if summed else 0), x0.new_empty(weight.shape[0] if summed else 0)


def _shape(x: Tensor, weight: Tensor) -> tuple[int, int, int, int]:
    return x.shape[0], weight.shape[0], *x.shape[2:]


def _sizes(x: Tensor, weight: Tensor) -> tuple[int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, weight.shape[0], h * w, dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[:4])


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad)
    grads = gated_pair_bwd(grad_y, *ctx.saved_tensors, wanted)
    return tuple(grad if want else None for grad, want in zip(grads, wanted, strict=True))


gated_pair = define("gated_pair", SCHEMA, cpu=_fwd_cpu, cuda=cuda.fwd, fake=_fwd_fake)
gated_pair_bwd = define("gated_pair_bwd", BWD_SCHEMA, cpu=_bwd_cpu, cuda=cuda.bwd, fake=_bwd_fake)
differentiable(gated_pair, _backward, _setup_context)
not_differentiable(gated_pair_bwd)
backends.register("gated_pair", "native", gated_pair, reasons_against)
backends.register("gated_pair", "cuda", gated_pair, _cuda.reasons_against)
