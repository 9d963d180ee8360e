"""The CUDA kernels of ``awms``."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format, room_like
from awsrn_fast.ops._cpu import address, channels_last
from awsrn_fast.ops._cuda_conv import in_products_order, rows

from .shapes import output, too_wide


def reasons_against(call: Call) -> list[str]:
    return _cuda.reasons_against(call) + too_wide(call)


def fwd(
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
    y = output(x, weight, scale, out_dtype)
    if y.numel():
        skip = None if skip is None else channels_last(skip)
        out_shift = None if out_shift is None else out_shift.contiguous()
        _convolve(rows(x), weight, y, bias.contiguous(), skip, scale, out_scale, out_shift, clamp, prepared)
    return y


def bwd(
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
) -> list[Tensor | None]:
    inputs = (x, weight, bias, skip, out_shift)
    grads = [None if t is None or not want else room_like(t, t is x) for t, want in zip(inputs, wanted, strict=True)]
    grads = [room if room is None or room.dim() > 1 else room.float() for room in grads]  # sums over the maps in fp32
    if not grad_y.numel():
        return [None if room is None else room.zero_() for room in grads]
    want_skip = wanted[3]
    maps, outputs = _maps(x, weight), weight.shape[0]
    where = _cuda.dtype_code(x.dtype), _cuda.target(x)
    of_sums, of_weight = native.cuda.awms_workspace(maps, where[0])

    # Before the clamp: those values say where it passes a gradient.
    y = fwd(x, weight, bias, skip, scale, out_scale, out_shift, False) if clamp else None
    layout = memory_format(x)
    grad_y = grad_y.contiguous(memory_format=layout)
    wide = (x.shape[0], outputs + _lacking(outputs, x), *x.shape[2:])
    grad = torch.empty(wide, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    grad_x, grad_weight, grad_bias, _, grad_shift = grads
    sums = None if grad_bias is None and grad_shift is None else _cuda.workspace(of_sums, x)
    given = (grad.shape[1], *map(address, (grad_y, y)), layout == torch.channels_last, scale, out_scale)
    results = map(address, (grad, grad_bias, grad_shift, sums))
    native.cuda.awms_bwd_grad((maps, *given, *results), *where)

    if want_skip:
        grads[3] = grad[:, :outputs]
    if grad_x is not None:
        _convolve(grad, weight.transpose(0, 1).flip(2, 3), grad_x)
    if grad_weight is not None:
        of_x, workspace = rows(x), _cuda.workspace(of_weight, x)
        tensors, widths = (of_x, grad, grad_weight, workspace), (of_x.shape[1], grad.shape[1])
        native.cuda.awms_bwd_weight((maps, *widths, *map(address, tensors)), *where)
    return grads


def _convolve(
    x: Tensor,
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
    """Convolution into ``y``, from x as :func:`rows` gives it."""
    if prepared is None or not _fits(prepared, weight):
        prepared = prepare(weight)
    tensors = (*map(address, (x, prepared)), _cuda.values_of(bias), address(skip), _cuda.values_of(out_shift))
    options = (memory_format(y) == torch.channels_last, scale, out_scale, clamp, y.dtype == torch.uint8)
    what = (_maps(x, weight), x.shape[1], *tensors, address(y), *options)
    native.cuda.awms_fwd(what, _cuda.dtype_code(x.dtype), _cuda.target(x))


def _lacking(channels: int, x: Tensor) -> int:
    """Channels that fill the last access of 16 bytes."""
    return -channels % (16 // x.element_size())


def prepare(weight: Tensor) -> Tensor:
    """``[O, C, K, K]`` in the order of ``csrc/cuda/awms.cuh``."""
    return in_products_order(weight, *_products(weight))


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


def _maps(x: Tensor, weight: Tensor) -> tuple[int, int, int, int, int, int]:
    (n, _, h, w), (o, c, k, _) = x.shape, weight.shape
    return n, h, w, c, o, k
