"""The convolution of up to four maps that several ops run on CUDA: ``csrc/cuda/conv.h``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._cpu import address, channels_last

_CHUNK_BYTES = 32  # of the channels of one position that the kernel takes at a time


def rows(x: Tensor) -> Tensor:
    """``x`` in channels_last, its channels padded with zeros to whole accesses of 16 bytes, and aligned to them."""
    lacking = -x.shape[1] % (16 // x.element_size())
    x = channels_last(F.pad(x, (0, 0, 0, 0, 0, lacking)) if lacking else x)
    return x.clone(memory_format=torch.channels_last) if x.data_ptr() % 16 else x


def new_map(x: Tensor, channels: int) -> Tensor:
    """Room for a map of ``x``'s size and dtype, in channels_last."""
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def pack(weight: Tensor, channels: list[int]) -> Tensor:
    """``[O, C, K, K]`` in the products' order (``csrc/cuda/awms.cuh``), for maps of ``channels``, C together."""
    width, chunk = 8 * native.cuda.conv_tiles(weight.shape[0]), _CHUNK_BYTES // weight.element_size()
    if any(c % chunk for c in channels):
        parts = [F.pad(part, (0, 0, 0, 0, 0, -part.shape[1] % chunk)) for part in weight.split(channels, dim=1)]
        weight = torch.cat(parts, dim=1)
    return in_products_order(weight, width, chunk)


# The first dimension of prepared bytes tells the dtype that they are for: a module's cast leaves bytes as they are.
_ROWS = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 4}


def prepare(*weights: Tensor) -> Tensor | None:
    """Weights ``[O, C, K, K]`` as :func:`convolve` takes them, one after the other, as bytes that mean nothing to
    PyTorch; None: the kernels do not run there."""
    first = weights[0]
    if native.cuda is None or first.dtype not in _ROWS:
        return None
    parts = [pack(weight.detach(), [weight.shape[1]]).view(-1).view(torch.uint8) for weight in weights]
    return torch.cat(parts).view(_ROWS[first.dtype], -1)


def packed_parts(prepared: Tensor | None, *weights: Tensor) -> list[Tensor | None]:
    """The packed form of each weight from :func:`prepare`; None if that is of other weights (after a cast)."""
    sizes, rows_of = [_packed_bytes(weight) for weight in weights], _ROWS[weights[0].dtype]
    if prepared is None or prepared.shape != (rows_of, sum(sizes) // rows_of):
        return [None] * len(weights)
    return list(prepared.view(-1).split(sizes))


def packed_anyway(prepared: Tensor | None, *weights: Tensor) -> list[Tensor]:
    """The same as :func:`packed_parts`; weights that were not prepared are packed now."""
    parts = zip(packed_parts(prepared, *weights), weights, strict=True)
    return [pack(weight, [weight.shape[1]]) if part is None else part for part, weight in parts]


def _packed_bytes(weight: Tensor) -> int:
    (o, c, k, _), size = weight.shape, weight.element_size()
    width, chunk = 8 * native.cuda.conv_tiles(o), _CHUNK_BYTES // size
    return -(-o // width) * width * -(-c // chunk) * chunk * k * k * size


def in_products_order(weight: Tensor, width: int, chunk: int) -> Tensor:
    """``[O, C, K, K]`` for blocks of ``width`` outputs and chunks of ``chunk`` channels, padded with zeros to both."""
    o, c, k, _ = weight.shape
    if o % width or c % chunk:
        weight = F.pad(weight, (0, 0, 0, 0, 0, -c % chunk, 0, -o % width))
    blocks, chunks = weight.shape[0] // width, weight.shape[1] // chunk
    if weight.dtype == torch.float32:
        return weight.reshape(blocks, width, chunks, chunk, k * k).permute(0, 2, 4, 3, 1).contiguous()
    # block, pair, its half, lane / 4, chunk, half, lane % 4, one of two, tap
    parts = weight.reshape(blocks, width // 16, 2, 8, chunks, 2, 4, 2, k * k)
    return parts.permute(0, 4, 8, 1, 3, 6, 2, 5, 7).contiguous()


def mirrored(weight: Tensor) -> Tensor:
    """The weight of the convolution that takes the output's gradient to the input's."""
    return weight.transpose(0, 1).flip(2, 3)


def convolve(
    op: str,
    maps: list[Tensor],
    weight: Tensor,
    y: Tensor,
    *,
    packed: Tensor | None = None,
    input_gate: Tensor | None = None,
    bias: Tensor | None = None,
    relu: bool = False,
    mask: Tensor | None = None,
    plain: Tensor | None = None,
    residual: Tensor | None = None,
    gate: Tensor | None = None,
    x_scale: Tensor | None = None,
    res_scale: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """Convolution into ``y``; ``Conv`` in ``csrc/cuda/conv.h`` documents the arguments.

    Args:
        op: for messages.
        maps: ``[N, C_i, H, W]`` each.
        weight: ``[O, C, K, K]``, K 1 or 3.
        y, mask, plain, residual: ``[N, O, H, W]``, dense in channels_last.
        packed: what :func:`pack` made of the weight for one map; left aside where several have part of a chunk each.
        input_gate: ``[N, C]``; gate, mean: ``[N, O]``; bias: ``[O]``; x_scale, res_scale: ``[1]``.
    """
    channels = [x.shape[1] for x in maps]
    given = [rows(x) for x in maps]
    if input_gate is not None and any(x.shape[1] != c for x, c in zip(given, channels, strict=True)):
        parts = zip(input_gate.split(channels, dim=1), given, strict=True)
        input_gate = torch.cat([F.pad(part, (0, x.shape[1] - part.shape[1])) for part, x in parts], dim=1)
    several = len(maps) > 1 and any(c % (_CHUNK_BYTES // y.element_size()) for c in channels)
    packed = pack(weight, channels) if packed is None or several else packed
    (n, o, h, w), k = y.shape, weight.shape[-1]
    workspace = None if mean is None else _cuda.workspace(native.cuda.conv_workspace(n, h, w, o), y)
    small = [None if t is None else t.contiguous() for t in (input_gate, bias, gate, x_scale, res_scale)]
    of_inputs, of_bias, of_gate, of_x, of_res = map(_cuda.values_of, small)
    inputs = [(address(x), x.shape[1]) for x in given]
    before = (address(packed), of_inputs, of_bias, relu, *map(address, (mask, plain, residual)))
    after = (of_gate, of_x, of_res, *map(address, (y, mean, workspace)))
    native.cuda.conv(op, inputs, *before, *after, n, o, h, w, k, _cuda.dtype_code(y.dtype), *_cuda.target(y))


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """``[O, C, K, K]``, of the convolution of ``x [N, C, H, W]`` whose output's gradient is ``grad [N, O, H, W]``."""
    (o, c, k, _), (n, _, h, w) = weight.shape, x.shape
    result = torch.empty(o, c, k, k, dtype=x.dtype, device=x.device)
    maps, dtype = (n, h, w, c, o, k), _cuda.dtype_code(x.dtype)
    of_x, of_grad = rows(x), rows(grad)
    workspace = _cuda.workspace(native.cuda.awms_workspace(maps, dtype)[1], x)
    tensors, widths = (of_x, of_grad, result, workspace), (of_x.shape[1], of_grad.shape[1])
    native.cuda.awms_bwd_weight((maps, *widths, *map(address, tensors)), dtype, _cuda.target(x))
    return result


def bias_gradient(grad: Tensor) -> Tensor:
    """``[O]``, in fp32."""
    return grad.sum((0, 2, 3), dtype=torch.float32)
