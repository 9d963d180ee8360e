"""``gated_residual`` for torch.library: schema, fake, backward, and the kernels for CPU and CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._library import define, differentiable, not_differentiable
from awsrn_fast.ops._native import address, dtype_code, in_float32, reasons_against

# Written out: how much of list[bool] and X | None torch reads from annotations depends on its version.
SCHEMA = "(Tensor x, Tensor f, Tensor? gate, Tensor x_scale, Tensor res_scale) -> (Tensor, Tensor)"
BWD_SCHEMA = (
    "(Tensor? grad_y, Tensor? grad_mean, Tensor x, Tensor f, Tensor? gate, Tensor x_scale, Tensor res_scale, "
    "bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _fwd_cpu(x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor) -> tuple[Tensor, Tensor]:
    layout = memory_format(x)
    x, f = x.contiguous(memory_format=layout), f.contiguous(memory_format=layout)
    gate, x_scale, res_scale = in_float32(gate), in_float32(x_scale), in_float32(res_scale)
    y = torch.empty_like(x, memory_format=layout)
    mean = x.new_empty(x.shape[:2], dtype=torch.float32)
    tensors = (x, f, gate, x_scale, res_scale, y, mean)
    native.cpu.gated_residual_fwd(_sizes(x, layout), *map(address, tensors))
    return y, mean.to(x.dtype)


def _fwd_cuda(x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor) -> tuple[Tensor, Tensor]:
    layout = memory_format(x)
    x, f = x.contiguous(memory_format=layout), f.contiguous(memory_format=layout)
    gate = None if gate is None else gate.contiguous()
    y, mean = _fwd_fake(x, f, gate, x_scale, res_scale)
    maps = _maps(x, layout)
    workspace = _cuda.workspace(native.cuda.gated_residual_workspace(*maps), x)
    tensors = (x, f, gate, x_scale, res_scale, y, mean, workspace)
    native.cuda.gated_residual_fwd((maps, *map(address, tensors)), _cuda.dtype_code(x.dtype), _cuda.target(x))
    return y, mean


def _fwd_fake(x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    return y, x.new_empty(x.shape[:2])


def _bwd_cpu(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    f: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, f, gate, x_scale, res_scale. One that is not wanted is empty: a schema cannot return None."""
    layout = memory_format(x)
    dtype, device = x.dtype, x.device
    grads = [
        _gradient_of(tensor, layout) if want else None
        for tensor, want in zip((x, f, gate, x_scale, res_scale), wanted, strict=True)
    ]
    _, _, want_gate, want_x_scale, want_res_scale = wanted
    sizes = _sizes(x, layout)
    x = x.contiguous(memory_format=layout) if want_x_scale else None
    f = f.contiguous(memory_format=layout) if want_gate or want_res_scale else None
    grad_y = None if grad_y is None else grad_y.contiguous(memory_format=layout)
    grad_mean, gate = in_float32(grad_mean), in_float32(gate)
    x_scale, res_scale = in_float32(x_scale), in_float32(res_scale)
    tensors = (grad_y, grad_mean, x, f, gate, x_scale, res_scale, *grads)
    native.cpu.gated_residual_bwd(sizes, *map(address, tensors))
    return tuple(torch.empty(0, dtype=dtype, device=device) if grad is None else grad.to(dtype) for grad in grads)


def _bwd_cuda(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    f: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As :func:`_bwd_cpu`; every value is read and written in the maps' dtype, so that nothing needs a cast."""
    layout = memory_format(x)
    grads = _bwd_fake(grad_y, grad_mean, x, f, gate, x_scale, res_scale, wanted)
    _, _, want_gate, want_x_scale, want_res_scale = wanted
    maps, dtype, target = _maps(x, layout), _cuda.dtype_code(x.dtype), _cuda.target(x)
    workspace = _cuda.workspace(native.cuda.gated_residual_workspace(*maps), x)
    x = x.contiguous(memory_format=layout) if want_x_scale else None
    f = f.contiguous(memory_format=layout) if want_gate or want_res_scale else None
    grad_y = None if grad_y is None else grad_y.contiguous(memory_format=layout)
    grad_mean = None if grad_mean is None else grad_mean.contiguous()
    gate = None if gate is None else gate.contiguous()
    outputs = (grad if want else None for grad, want in zip(grads, wanted, strict=True))
    tensors = (grad_y, grad_mean, x, f, gate, x_scale, res_scale, *outputs, workspace)
    native.cuda.gated_residual_bwd((maps, *map(address, tensors)), dtype, target)
    return grads


def _bwd_fake(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    f: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    layout = memory_format(x)
    inputs = zip((x, f, gate, x_scale, res_scale), wanted, strict=True)
    return tuple(
        torch.empty_like(_gradient_of(tensor, layout), dtype=x.dtype) if want else x.new_empty(0)
        for tensor, want in inputs
    )


def _gradient_of(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    """Room for the gradient of a map in its dtype and the maps' layout, of anything smaller in fp32."""
    if tensor.dim() == 4:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=layout)
    return torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)


def _maps(x: Tensor, layout: torch.memory_format) -> tuple[int, int, int, bool]:
    n, c, h, w = x.shape
    return n, c, h * w, layout == torch.channels_last


def _sizes(x: Tensor, layout: torch.memory_format) -> tuple[int, int, int, bool, int, int]:
    return *_maps(x, layout), dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs)


def backward_by(bwd: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradient for torch.library, computed by the op ``bwd``."""

    def backward(ctx: Any, grad_y: Tensor | None, grad_mean: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = list(ctx.needs_input_grad)
        grads = bwd(grad_y, grad_mean, *ctx.saved_tensors, wanted)
        return tuple(grad if want else None for grad, want in zip(grads, wanted, strict=True))

    return backward


gated_residual = define("gated_residual", SCHEMA, cpu=_fwd_cpu, cuda=_fwd_cuda, fake=_fwd_fake)
gated_residual_bwd = define("gated_residual_bwd", BWD_SCHEMA, cpu=_bwd_cpu, cuda=_bwd_cuda, fake=_bwd_fake)
differentiable(gated_residual, backward_by(gated_residual_bwd), _setup_context)
not_differentiable(gated_residual_bwd)
backends.register("gated_residual", "native", gated_residual, reasons_against)
backends.register("gated_residual", "cuda", gated_residual, _cuda.reasons_against)
