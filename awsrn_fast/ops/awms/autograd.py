"""``awms`` for torch.library: schema, fake, backward, and the kernels for CPU and CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._library import define, differentiable, not_differentiable
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

MOST_TAPS = 9
"""Of the weight, down and across, that the kernels for CPU and CUDA have."""
_INPUTS = "Tensor x, Tensor weight, Tensor bias, Tensor? skip"
_OPTIONS = "int scale, float out_scale, Tensor? out_shift, bool clamp"
SCHEMA = f"({_INPUTS}, {_OPTIONS}, ScalarType? out_dtype, Tensor? prepared) -> Tensor"
BWD_SCHEMA = f"(Tensor grad_y, {_INPUTS}, {_OPTIONS}, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"


def _fwd_cpu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    by_position = memory_format(x) == torch.channels_last
    y = _output(x, weight, scale, out_dtype)
    if not y.numel():
        return y
    x, skip = channels_last(x), None if skip is None else channels_last(skip)
    shift = in_float32(bias) * out_scale
    if out_shift is not None:
        shift = shift + in_float32(out_shift).repeat_interleave(scale**2)
    # Without prepared points they are made inside the call, in no tensor.
    points = prepared if prepared is not None and prepared.dtype == torch.uint8 else None
    if points is not None and points.numel() != 4 * _points(weight):
        raise ValueError("awms: prepared was made from a weight of other sizes")
    kernel = taps(weight) if points is None else None
    options = (weight.shape[-1], scale, out_scale, clamp, out_dtype == torch.uint8, by_position)
    tensors = (x, kernel, points, shift, skip, y)
    native.cpu.awms_fwd(_sizes(x, weight.shape[0]), *options, *map(address, tensors))
    return y


def _fwd_cuda(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    y = _output(x, weight, scale, out_dtype)
    if y.numel():
        skip = None if skip is None else channels_last(skip)
        out_shift = None if out_shift is None else out_shift.contiguous()
        _conv_cuda(_rows(x), weight, y, bias.contiguous(), skip, scale, out_scale, out_shift, clamp, prepared)
    return y


def _fwd_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    return _output(x, weight, scale, out_dtype)


def prepare(weight: Tensor) -> Tensor | None:
    """``weight [O, C, K, K]`` as the kernel for its device takes it, for maps of its dtype; None: there is no kernel.

    On the CPU bytes that mean nothing to PyTorch, so that a cast of a module leaves them as they are.
    """
    weight = weight.detach()
    if weight.shape[-1] > MOST_TAPS:
        return None
    if weight.device.type == "cpu" and native.cpu is not None:
        return _prepared_cpu(weight)
    if weight.device.type == "cuda" and native.cuda is not None and weight.dtype in _cuda.DTYPES:
        return _in_products_order(weight)
    return None


def _prepared_cpu(weight: Tensor) -> Tensor:
    kernel, (o, c, k, _) = taps(weight), weight.shape
    points = torch.empty(_points(weight), dtype=torch.float32, device=weight.device)
    native.cpu.awms_prepare(address(kernel), k, address(points), c, o, torch.get_num_threads())
    return points.view(torch.uint8)


def _points(weight: Tensor) -> int:
    return native.cpu.awms_points_size(weight.shape[1], weight.shape[0])


def _bwd_cpu(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """Gradients of x, weight, bias, skip, out_shift. One not wanted is empty: a schema cannot return None."""
    if clamp:  # the values before the clamp say where it passes a gradient
        y = _fwd_cpu(x, weight, bias, skip, scale, out_scale, out_shift, False)
        grad_y = grad_y * ((y >= 0) & (y <= 1))
    want_x, want_weight, want_bias, want_skip, want_shift = wanted
    empty = x.new_empty(0)
    grads = [empty.clone() for _ in wanted]
    if want_shift:
        grads[4] = grad_y.sum((0, 2, 3), dtype=torch.float32).to(x.dtype)
    grad = _unshuffled(grad_y, scale, out_scale)
    seen, outputs = channels_last(x), weight.shape[0]
    if want_x:
        grad_x = torch.zeros_like(seen) if not grad.numel() else torch.empty_like(seen)
        if grad.numel():
            back, k = taps_of_transpose(weight), weight.shape[-1]
            native.cpu.awms_conv(_sizes(grad, x.shape[1]), k, *map(address, (grad, back, grad_x)))
        grads[0] = grad_x.contiguous(memory_format=memory_format(x))
    if want_weight or want_bias:
        grad_taps = torch.zeros((9, 9, x.shape[1], outputs), dtype=torch.float32, device=x.device)
        sums = torch.zeros(outputs, dtype=torch.float32, device=x.device)
        if grad.numel():
            tensors = (seen, grad, grad_taps, sums)
            native.cpu.awms_grad_weight(_sizes(seen, outputs), *map(address, tensors))
        margin = (9 - weight.shape[-1]) // 2
        inside = slice(margin, 9 - margin)
        if want_weight:
            grads[1] = from_taps(grad_taps[inside, inside], weight)
        if want_bias:
            grads[2] = sums.to(x.dtype)
    if want_skip:
        grads[3] = grad.contiguous(memory_format=memory_format(skip))
    return tuple(grads)


def _bwd_cuda(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """As :func:`_bwd_cpu`; the gradient of x is a forward with the mirrored weight."""
    grads = list(_bwd_fake(grad_y, x, weight, bias, skip, scale, out_scale, out_shift, clamp, wanted))
    if not grad_y.numel():
        return tuple(room.zero_() for room in grads)
    want_x, want_weight, want_bias, want_skip, want_shift = wanted
    maps, outputs = _cuda_maps(x, weight), weight.shape[0]
    where = _cuda.dtype_code(x.dtype), _cuda.target(x)
    of_sums, of_weight = native.cuda.awms_workspace(maps, where[0])

    # Before the clamp: those values say where it passes a gradient.
    y = _fwd_cuda(x, weight, bias, skip, scale, out_scale, out_shift, False) if clamp else None
    layout = memory_format(x)
    grad_y = grad_y.contiguous(memory_format=layout)
    wide = (x.shape[0], outputs + _lacking(outputs, x), *x.shape[2:])
    grad = torch.empty(wide, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    grad_bias, grad_shift = grads[2] if want_bias else None, grads[4] if want_shift else None
    workspace = _cuda.workspace(of_sums, x) if want_bias or want_shift else None
    given = (grad.shape[1], *map(address, (grad_y, y)), layout == torch.channels_last, scale, out_scale)
    results = map(address, (grad, grad_bias, grad_shift, workspace))
    native.cuda.awms_bwd_grad((maps, *given, *results), *where)

    if want_skip:
        grads[3] = grad[:, :outputs].contiguous(memory_format=memory_format(skip))
    if want_x:
        _conv_cuda(grad, weight.transpose(0, 1).flip(2, 3), grads[0])
    if want_weight:
        rows, workspace = _rows(x), _cuda.workspace(of_weight, x)
        tensors, widths = (rows, grad, grads[1], workspace), (rows.shape[1], grad.shape[1])
        native.cuda.awms_bwd_weight((maps, *widths, *map(address, tensors)), *where)
    return tuple(grads)


def _conv_cuda(
    rows: Tensor,
    weight: Tensor,
    y: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    scale: int = 1,
    out_scale: float = 1,
    out_shift: Tensor | None = None,
    clamp: bool = False,
    prepared: Tensor | None = None,
) -> None:
    """Into ``y``, from x as :func:`_rows` gives it."""
    if prepared is None or not _fits(prepared, weight):
        prepared = _in_products_order(weight)
    tensors = (rows, prepared, bias, skip, out_shift, y)
    options = (memory_format(y) == torch.channels_last, scale, out_scale, clamp, y.dtype == torch.uint8)
    what = (_cuda_maps(rows, weight), rows.shape[1], *map(address, tensors), *options)
    native.cuda.awms_fwd(what, _cuda.dtype_code(rows.dtype), _cuda.target(rows))


def _rows(x: Tensor) -> Tensor:
    """``x`` in channels_last, its channels padded with zeros to whole accesses of 16 bytes, and aligned to them."""
    lacking = _lacking(x.shape[1], x)
    x = channels_last(F.pad(x, (0, 0, 0, 0, 0, lacking)) if lacking else x)
    return x.clone(memory_format=torch.channels_last) if x.data_ptr() % 16 else x


def _lacking(channels: int, x: Tensor) -> int:
    """Channels that fill the last access of 16 bytes."""
    return -channels % (16 // x.element_size())


def _in_products_order(weight: Tensor) -> Tensor:
    """``[O, C, K, K]`` in the order of ``csrc/cuda/awms.cuh``."""
    o, c, k, _ = weight.shape
    width, chunk = _products(weight)
    if o % width or c % chunk:
        weight = F.pad(weight, (0, 0, 0, 0, 0, -c % chunk, 0, -o % width))
    blocks, chunks = weight.shape[0] // width, weight.shape[1] // chunk
    if weight.dtype == torch.float32:
        return weight.reshape(blocks, width, chunks, chunk, k * k).permute(0, 2, 4, 3, 1).contiguous()
    # block, pair, its half, lane / 4, chunk, half, lane % 4, one of two, tap
    parts = weight.reshape(blocks, width // 16, 2, 8, chunks, 2, 4, 2, k * k)
    return parts.permute(0, 4, 8, 1, 3, 6, 2, 5, 7).contiguous()


def _products(weight: Tensor) -> tuple[int, int]:
    """Outputs of a block, and channels of a chunk."""
    return 8 * native.cuda.awms_tiles(weight.shape[0]), 32 // weight.element_size()


def _fits(prepared: Tensor, weight: Tensor) -> bool:
    """Whether this is ``weight`` in the products' order; the module may have been cast or moved since."""
    (o, c, k, _), (width, chunk) = weight.shape, _products(weight)
    blocks, chunks = -(-o // width), -(-c // chunk)
    single = (blocks, chunks, k * k, chunk, width)
    shape = single if weight.dtype == torch.float32 else (blocks, chunks, k * k, width // 16, 8, 4, 2, 2, 2)
    return prepared.dtype == weight.dtype and prepared.shape == shape


def _cuda_maps(x: Tensor, weight: Tensor) -> tuple[int, int, int, int, int, int]:
    (n, _, h, w), (o, c, k, _) = x.shape, weight.shape
    return n, h, w, c, o, k


def _bwd_fake(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float,
    out_shift: Tensor | None,
    clamp: bool,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    def like(tensor: Tensor | None, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
        return torch.empty_like(tensor, memory_format=layout)

    made = (
        lambda: like(x, memory_format(x)),
        lambda: like(weight),
        lambda: like(bias),
        lambda: like(skip, memory_format(skip)),
        lambda: like(out_shift),
    )
    return tuple(make() if want else x.new_empty(0) for make, want in zip(made, wanted, strict=True))


def _output(x: Tensor, weight: Tensor, scale: int, dtype: torch.dtype | None) -> Tensor:
    n, _, h, w = x.shape
    shape = (n, weight.shape[0] // scale**2, scale * h, scale * w)
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device, memory_format=memory_format(x))


def _unshuffled(grad_y: Tensor, scale: int, out_scale: float) -> Tensor:
    """``[N, P, scale*H, scale*W]`` -> the gradient of the convolution's output, ``[N, O, H, W]`` in channels_last."""
    n, planes, high, wide = grad_y.shape
    h, w = high // scale, wide // scale
    grad = (grad_y * out_scale).reshape(n, planes, h, scale, w, scale).permute(0, 2, 4, 1, 3, 5)
    return grad.reshape(n, h, w, planes * scale**2).contiguous().permute(0, 3, 1, 2)  # with scale 1 it is a view


def _sizes(x: Tensor, outputs: int) -> tuple[int, int, int, int, int, int, int]:
    n, c, h, w = x.shape
    return n, c, outputs, h, w, dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, skip, ctx.scale, ctx.out_scale, out_shift, ctx.clamp, _, _ = inputs
    ctx.has_skip, ctx.has_shift = skip is not None, out_shift is not None
    ctx.save_for_backward(x, weight, bias, skip, out_shift)


def backward_by(bwd: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradient for torch.library, computed by the op ``bwd``."""

    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, skip, out_shift = ctx.saved_tensors
        want_x, want_weight, want_bias, want_skip, _, _, want_shift, *_ = ctx.needs_input_grad
        wanted = [want_x, want_weight, want_bias, want_skip, want_shift]
        options = (ctx.scale, ctx.out_scale, out_shift, ctx.clamp)
        grads = bwd(grad_y, x, weight, bias, skip, *options, wanted)
        gx, gw, gb, gs, go = (grad if want else None for grad, want in zip(grads, wanted, strict=True))
        return gx, gw, gb, gs, None, None, go, None, None, None

    return backward


awms = define("awms", SCHEMA, cpu=_fwd_cpu, cuda=_fwd_cuda, fake=_fwd_fake)
awms_bwd = define("awms_bwd", BWD_SCHEMA, cpu=_bwd_cpu, cuda=_bwd_cuda, fake=_bwd_fake)
differentiable(awms, backward_by(awms_bwd), _setup_context)
not_differentiable(awms_bwd)


def too_wide(call: backends.Call) -> list[str]:
    """Reasons against the hand-written kernels."""
    k = call.size("K")
    return [f"a {k}x{k} kernel (at most {MOST_TAPS}x{MOST_TAPS})"] if k > MOST_TAPS else []


backends.register(
    "awms",
    "native",
    awms,
    lambda call: reasons_against(call) + too_wide(call),
    algorithm="nested Winograd F(3x3, 3x3) in F(4x4, 3x3)",
)
backends.register("awms", "cuda", awms, lambda call: _cuda.reasons_against(call) + too_wide(call))
