"""``conv3x3`` for torch.library: schema, fake, backward, and the native CPU kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda, _native
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cuda_conv import prepare as prepare_cuda
from awsrn_fast.ops._library import define, differentiable, not_differentiable
from awsrn_fast.ops._native import address, channels_last, dtype_code, from_taps, in_float32, taps, taps_of_transpose

from . import cuda

_INPUTS = "Tensor x, Tensor weight, Tensor bias, Tensor? x1, Tensor? x2, Tensor? x3"
SCHEMA = f"({_INPUTS}, Tensor? prepared) -> Tensor"
BWD_SCHEMA = f"(Tensor grad_y, {_INPUTS}, bool[] wanted) -> (Tensor, Tensor, Tensor)"

WINOGRAD = "Winograd F(4x4, 3x3), in bf16 with products in 16-bit fixed point where the CPU has VNNI"

WHOLE_VECTOR = 16
"""Of several maps, each has a multiple of so many channels."""


def prepare(weight: Tensor) -> Tensor | None:
    """``[O, C, 3, 3]`` as the kernel for its device takes it, for maps of its dtype; None: there is none.

    The bytes mean nothing to PyTorch, so that a cast of a module leaves them as they are.
    """
    if weight.device.type == "cuda":
        return prepare_cuda(weight)
    if native.cpu is None or weight.device.type != "cpu":
        return None
    o, c = weight.shape[:2]
    points, kernel = torch.empty(native.cpu.conv3x3_prepared_size(c, o)), taps(weight.detach())
    native.cpu.conv3x3_prepare(address(kernel), address(points), c, o, torch.get_num_threads())
    return points.view(torch.uint8)


def _fwd_cpu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None = None,
    x2: Tensor | None = None,
    x3: Tensor | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    outputs, channels = weight.shape[:2]
    if prepared is not None and prepared.shape != (4 * native.cpu.conv3x3_prepared_size(channels, outputs),):
        raise ValueError("conv3x3: prepared was made from a weight of another size than weight")
    kernel = taps(weight) if prepared is None else None
    return _convolved(_maps(x, x1, x2, x3), kernel, bias, outputs, prepared).contiguous(memory_format=memory_format(x))


def _maps(*maps: Tensor | None) -> list[Tensor]:
    """The maps in NHWC; the kernel takes several where each has whole vectors of channels."""
    given = [x for x in maps if x is not None]
    if len(given) > 1 and any(x.shape[1] % WHOLE_VECTOR for x in given):
        given = [torch.cat(given, dim=1)]
    return [channels_last(x) for x in given]


def _convolved(
    maps: list[Tensor], kernel: Tensor | None, bias: Tensor | None, outputs: int, prepared: Tensor | None = None
) -> Tensor:
    """In NHWC."""
    x, shift = maps[0], in_float32(bias)
    y = torch.empty(_shape(x, outputs), dtype=x.dtype, memory_format=torch.channels_last)
    if y.numel():
        native.cpu.conv3x3_fwd(_addresses(maps), *map(address, (kernel, prepared, shift, y)), *_sizes(maps, outputs))
    return y


def _fwd_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None,
    x2: Tensor | None,
    x3: Tensor | None,
    prepared: Tensor | None,
) -> Tensor:
    shape = _shape(x, weight.shape[0])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _bwd_cpu(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None,
    x2: Tensor | None,
    x3: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of all maps as one, of weight and of bias. One not wanted is empty: a schema cannot return None."""
    want_x, want_weight, want_bias = wanted
    outputs, none = weight.shape[0], x.new_empty(0)
    grad_y = channels_last(grad_y)
    grad_x = none
    if want_x:
        grad_x = _convolved([grad_y], taps_of_transpose(weight), None, weight.shape[1])
        grad_x = grad_x.contiguous(memory_format=memory_format(x))
    if not (want_weight or want_bias):
        return grad_x, none.clone(), none.clone()
    grad_taps, sums = torch.zeros(3, 3, weight.shape[1], outputs), torch.zeros(outputs)
    if grad_y.numel():
        maps = _maps(x, x1, x2, x3)
        results = map(address, (grad_y, grad_taps, sums))
        native.cpu.conv3x3_grad_weight(_addresses(maps), *results, *_sizes(maps, outputs))
    return grad_x, from_taps(grad_taps, weight), sums.to(bias.dtype)


def _bwd_fake(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None,
    x2: Tensor | None,
    x3: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    shape = _shape(x, weight.shape[1])
    none = x.new_empty(0)
    grad_x = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x)) if wanted[0] else none
    if not any(wanted[1:]):
        return grad_x, x.new_empty(0), x.new_empty(0)
    layout = torch.contiguous_format
    return grad_x, torch.empty_like(weight, memory_format=layout), torch.empty_like(bias, memory_format=layout)


def _shape(x: Tensor, outputs: int) -> tuple[int, int, int, int]:
    return x.shape[0], outputs, *x.shape[2:]


def _addresses(maps: list[Tensor]) -> list[tuple[int, int]]:
    return [(address(x), x.shape[1]) for x in maps]


def _sizes(maps: list[Tensor], outputs: int) -> tuple[int, int, int, int, int, int, int]:
    n, _, h, w = maps[0].shape
    channels = sum(x.shape[1] for x in maps)
    return n, channels, outputs, h, w, dtype_code(maps[0].dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:6])  # prepared is for inference


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:6]
    want_maps = wanted[0] or any(wanted[3:])
    saved = ctx.saved_tensors  # asked for once: under checkpointing that computes them
    grad_x, grad_weight, grad_bias = conv3x3_bwd(grad_y, *saved, [want_maps, wanted[1], wanted[2]])
    parts: tuple[Tensor | None, ...] = (None,) * 4
    if want_maps:
        x, _, _, *others = saved
        parts = grad_x.split([0 if m is None else m.shape[1] for m in (x, *others)], dim=1)
    grads = (parts[0], grad_weight, grad_bias, *parts[1:])
    return *(grad if want else None for grad, want in zip(grads, wanted, strict=True)), None


conv3x3 = define("conv3x3", SCHEMA, cpu=_fwd_cpu, cuda=cuda.fwd, fake=_fwd_fake)
conv3x3_bwd = define("conv3x3_bwd", BWD_SCHEMA, cpu=_bwd_cpu, cuda=cuda.bwd, fake=_bwd_fake)
differentiable(conv3x3, _backward, _setup_context)
not_differentiable(conv3x3_bwd)
backends.register("conv3x3", "native", conv3x3, _native.reasons_against, algorithm=WINOGRAD)
backends.register("conv3x3", "cuda", conv3x3, _cuda.reasons_against)
