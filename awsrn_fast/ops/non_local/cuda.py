"""The CUDA kernels of ``non_local``'s attention, whose forward does the last projection, too (csrc/cuda/non_local.h
says why not the first)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._cpu import address

from .shapes import attended_and_softmax, shape, too_long

SIZES = (8, 16, 32, 64)
"""The D of the kernels; others are padded to the next with zeros."""


def reasons_against(call: Call) -> list[str]:
    return _cuda.reasons_against(call) + too_long(call, SIZES[-1])


def fwd(
    qkv: Tensor,
    x: Tensor,
    w_z: Tensor,
    b_z: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    c, d = w_z.shape
    lacking = -c % 8
    if lacking:
        x, w_z, b_z = F.pad(x, (0, lacking)), F.pad(w_z, (0, 0, 0, lacking)), F.pad(b_z, (0, lacking))
    qkv, w_z = _in_pieces(_padded(qkv, 3)), _in_pieces(_padded(w_z, 1))
    x, b_z = _in_pieces(x), _in_pieces(b_z.to(x.dtype))
    y = torch.empty_like(x)
    kept = attended_and_softmax(qkv) if keep else None
    what = (
        shape(qkv, height, width, block, halo),
        address(qkv),
        x.shape[2],
        *map(address, (x, w_z, b_z, y, *(kept or (None, None)))),
    )
    native.cuda.non_local_fwd(what, _cuda.dtype_code(qkv.dtype), _cuda.target(qkv))
    y = y[..., :c].contiguous()
    if kept is None:
        return y, qkv.new_empty(0), qkv.new_empty(0, dtype=torch.float32)
    attended, softmax = kept
    return y, attended[..., :d].contiguous(), softmax


def bwd(
    grad_y: Tensor,
    qkv: Tensor,
    w_z: Tensor,
    attended: Tensor,
    softmax: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
    wanted: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    want_qkv, want_w, want_b = wanted
    sizes = (height, width, block, halo)
    grad_qkv = _attention_bwd(grad_y @ w_z, qkv, attended, softmax, *sizes) if want_qkv else None
    grad_w = grad_y.flatten(0, 1).t() @ attended.flatten(0, 1) if want_w else None
    return grad_qkv, grad_w, grad_y.sum((0, 1), dtype=torch.float32) if want_b else None


def _attention_bwd(
    grad: Tensor,
    qkv: Tensor,
    attended: Tensor,
    softmax: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
) -> Tensor:
    d = qkv.shape[2] // 3
    qkv, grad, attended = _in_pieces(_padded(qkv, 3)), _in_pieces(_padded(grad, 1)), _in_pieces(_padded(attended, 1))
    grad_qkv = qkv.new_empty(qkv.shape)
    sizes = shape(qkv, height, width, block, halo)
    workspace = _cuda.workspace(native.cuda.non_local_workspace(*sizes), qkv)
    tensors = (grad, qkv, attended, softmax, grad_qkv, workspace)
    native.cuda.non_local_bwd((sizes, *map(address, tensors)), _cuda.dtype_code(qkv.dtype), _cuda.target(qkv))
    return grad_qkv.unflatten(2, (3, -1))[..., :d].flatten(2).contiguous()


def _padded(vectors: Tensor, each: int) -> Tensor:
    """``[..., each * D]`` with D as a CUDA kernel has it."""
    d = vectors.shape[-1] // each
    size = next(size for size in SIZES if size >= d)
    return vectors if d == size else F.pad(vectors.unflatten(-1, (each, d)), (0, size - d)).flatten(-2)


def _in_pieces(tensor: Tensor) -> Tensor:
    """Dense, and aligned to the 16 bytes that the CUDA kernels read at a time."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()
