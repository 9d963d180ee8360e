"""``wide_residual`` for torch.library: schema, fake, backward, and the native CPU kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cuda_conv import prepare as prepare_cuda
from awsrn_fast.ops._library import define, define_composite, differentiable, not_differentiable
from awsrn_fast.ops._native import (
    address,
    channels_last,
    dtype_code,
    from_taps,
    in_float32,
    reasons_against,
    taps,
    taps_of_transpose,
)
from awsrn_fast.ops.conv3x3.autograd import WINOGRAD
from awsrn_fast.ops.conv3x3.autograd import prepare as prepare_conv3x3
from awsrn_fast.ops.gated_residual.autograd import gated_residual_bwd

from . import cuda

_INPUTS = "Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, Tensor? gate, Tensor x_scale, Tensor res_scale"
SCHEMA = f"({_INPUTS}, Tensor? prepared) -> (Tensor, Tensor)"
FWD_SCHEMA = f"({_INPUTS}, Tensor? prepared, bool keep) -> (Tensor, Tensor, Tensor)"
BWD_SCHEMA = (
    f"(Tensor? grad_y, Tensor? grad_mean, {_INPUTS}, Tensor f, bool[] wanted) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _wide_residual(*arguments: Tensor | None) -> tuple[Tensor, Tensor]:
    # The residual is kept for the backward pass alone; the wide map, four times as large, is computed again there.
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in arguments)
    return wide_residual_fwd(*arguments, keep)[:2]


def prepare(w1: Tensor, w2: Tensor) -> Tensor | None:
    """Both weights, ``[K, C, 3, 3]`` and ``[C, K, 3, 3]``, as :func:`conv3x3.prepare` makes them; None: no kernel."""
    if w1.device.type == "cuda":
        return prepare_cuda(w1, w2)
    if native.cpu is None or w1.device.type != "cpu":
        return None
    return torch.cat([prepare_conv3x3(w1), prepare_conv3x3(w2)])


def _fwd_cpu(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    prepared: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y``, its mean, and where it is to be kept the residual ``f`` as the backward pass wants it, in NHWC."""
    layout, seen = memory_format(x), channels_last(x)
    y = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    f = torch.empty_like(y) if keep else x.new_empty(0)
    mean = torch.full(x.shape[:2], float("nan"))
    if y.numel():
        if prepared is not None and prepared.shape != (4 * _prepared_floats(*w1.shape[:2]),):
            raise ValueError("wide_residual: prepared was made from weights of other sizes than w1 and w2")
        weights = (taps(w1), taps(w2)) if prepared is None else (None, None)
        small = map(in_float32, (b1, b2, gate, x_scale, res_scale))
        tensors = (seen, *weights, prepared, *small, y, f if keep else None, mean)
        native.cpu.wide_residual_fwd(*map(address, tensors), *_sizes(x, w1))
    return y.contiguous(memory_format=layout), mean.to(x.dtype), f


def _prepared_floats(k: int, c: int) -> int:
    return native.cpu.conv3x3_prepared_size(c, k) + native.cpu.conv3x3_prepared_size(k, c)


def _fwd_fake(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    prepared: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    f = torch.empty_like(y, memory_format=torch.channels_last) if keep else x.new_empty(0)
    return y, x.new_empty(x.shape[:2]), f


def _bwd_cpu(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    f: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """Gradients of the eight inputs. One that is not wanted is empty: a schema cannot return None."""
    want_x, *want_weights, want_gate, want_x_scale, want_res_scale = wanted
    inside = any(want_weights) or want_x
    seen = channels_last(x)
    rest = [want_x, inside, want_gate, want_x_scale, want_res_scale]
    grad_x, grad_f, *others = gated_residual_bwd(grad_y, grad_mean, seen, f, gate, x_scale, res_scale, rest)
    grads = [torch.zeros(0)] * 4
    if inside:
        k, c = w1.shape[:2]
        grad_f, grad_x = channels_last(grad_f), channels_last(grad_x)
        if any(want_weights):
            grads = [torch.zeros(3, 3, c, k), torch.zeros(k), torch.zeros(3, 3, k, c), torch.zeros(c)]
        if x.numel():
            weights = (taps(w1), in_float32(b1), taps_of_transpose(w1), taps_of_transpose(w2))
            tensors = (seen, grad_f, *weights, grad_x if want_x else None, *(g if g.numel() else None for g in grads))
            native.cpu.wide_residual_bwd(*map(address, tensors), *_sizes(x, w1))
    weights = (w1, b1, w2, b2)
    made = [(from_taps(g, w) if g.dim() == 4 else g.to(w.dtype)) for g, w in zip(grads, weights, strict=True)]
    of_weights = (g if want else x.new_empty(0) for g, want in zip(made, want_weights, strict=True))
    if want_x:
        grad_x = grad_x.contiguous(memory_format=memory_format(x))
    return grad_x, *of_weights, *others


def _bwd_fake(
    grad_y: Tensor | None,
    grad_mean: Tensor | None,
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    f: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    inputs = (x, w1, b1, w2, b2, gate, x_scale, res_scale)
    layouts = (memory_format(x), *[torch.contiguous_format] * 7)
    return tuple(
        torch.empty_like(tensor, memory_format=layout) if want else x.new_empty(0)
        for tensor, layout, want in zip(inputs, layouts, wanted, strict=True)
    )


def _sizes(x: Tensor, w1: Tensor) -> tuple[int, int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, w1.shape[0], h, w, dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, _prepared, _keep = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx: Any, grad_y: Tensor | None, grad_mean: Tensor | None, _grad_f: None) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:8])
    grads = wide_residual_bwd(grad_y, grad_mean, *ctx.saved_tensors, wanted)
    return *(grad if want else None for grad, want in zip(grads, wanted, strict=True)), None, None


wide_residual_fwd = define("wide_residual_fwd", FWD_SCHEMA, cpu=_fwd_cpu, cuda=cuda.fwd, fake=_fwd_fake)
wide_residual_bwd = define("wide_residual_bwd", BWD_SCHEMA, cpu=_bwd_cpu, cuda=cuda.bwd, fake=_bwd_fake)
differentiable(wide_residual_fwd, _backward, _setup_context)
not_differentiable(wide_residual_bwd)
wide_residual = define_composite("wide_residual", SCHEMA, _wide_residual)
backends.register("wide_residual", "native", wide_residual, reasons_against, algorithm=WINOGRAD)
backends.register("wide_residual", "cuda", wide_residual, _cuda.reasons_against)
