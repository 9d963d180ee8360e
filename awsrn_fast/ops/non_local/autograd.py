"""``non_local`` for torch.library: projections around the attention's kernels for CPU and CUDA. On a CPU they are our
own (csrc/cpu/linear.h says why); on CUDA the first is PyTorch's (csrc/cuda/non_local.h says why) and the last the
kernel's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._library import define, define_composite, differentiable, not_differentiable
from awsrn_fast.ops._linear import linear
from awsrn_fast.ops._native import address, dtype_code, reasons_against

SCHEMA = (
    "(Tensor x, Tensor w_theta, Tensor b_theta, Tensor w_phi, Tensor b_phi, Tensor w_g, Tensor b_g, Tensor w_z, "
    "Tensor b_z, int? block=None, int halo=0) -> Tensor"
)
# qkv [N, H*W, 3D] -> attended [N, H*W, D] and fp32 softmax [N, H*W, 2], each query's largest score (on a
# CPU a number near it) and 1 / sum of exp(score - that): the log of the sum alone would be too coarse in fp32.
ATTEND_SCHEMA = "(Tensor qkv, int height, int width, int? block, int halo) -> (Tensor, Tensor)"
# With x as tokens [N, H*W, C], y = x + w_z attended + b_z; attended and softmax are empty unless they are to be kept.
ATTEND_PROJECT_SCHEMA = (
    "(Tensor qkv, Tensor x, Tensor w_z, Tensor b_z, int height, int width, int? block, int halo, bool keep) "
    "-> (Tensor, Tensor, Tensor)"
)
ATTEND_BWD_SCHEMA = (
    "(Tensor grad, Tensor qkv, Tensor attended, Tensor softmax, int height, int width, int? block, int halo) -> Tensor"
)


CUDA_SIZES = (8, 16, 32, 64)
"""The D of the CUDA kernels; others are padded to the next with zeros."""


def _attend_cpu(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[Tensor, Tensor]:
    qkv = qkv.contiguous()
    attended, softmax = _attend_fake(qkv, height, width, block, halo)
    tensors = (qkv, attended, softmax)
    native.cpu.non_local_fwd(_cpu_shape(qkv, height, width, block, halo), *map(address, tensors))
    return attended, softmax


def _attend_project_cuda(
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
    x, b_z = _in_pieces(x), _in_pieces(b_z)
    y = torch.empty_like(x)
    attended, softmax = _attend_fake(qkv, height, width, block, halo) if keep else (None, None)
    shape = _sizes(qkv, height, width, block, halo)
    what = (shape, address(qkv), x.shape[2], *map(address, (x, w_z, b_z, y, attended, softmax)))
    native.cuda.non_local_fwd(what, _cuda.dtype_code(qkv.dtype), _cuda.target(qkv))
    y = y[..., :c].contiguous()
    if not keep:
        return y, *_attend_project_fake(qkv, y, w_z, b_z, height, width, block, halo, keep)[1:]
    return y, attended[..., :d].contiguous(), softmax


def _attend_project_fake(
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
    kept = _attend_fake(qkv, height, width, block, halo)
    return torch.empty_like(x), *(each if keep else each.new_empty(0) for each in kept)


def _attend_fake(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[Tensor, Tensor]:
    n, positions, channels = qkv.shape
    return qkv.new_empty((n, positions, channels // 3)), qkv.new_empty((n, positions, 2), dtype=torch.float32)


def _attend_bwd_cpu(
    grad: Tensor,
    qkv: Tensor,
    attended: Tensor,
    softmax: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
) -> Tensor:
    grad, qkv, attended = (tensor.contiguous() for tensor in (grad, qkv, attended))
    grad_qkv = qkv.new_empty(qkv.shape)
    tensors = (grad, qkv, attended, softmax, grad_qkv)
    native.cpu.non_local_bwd(_cpu_shape(qkv, height, width, block, halo), *map(address, tensors))
    return grad_qkv


def _attend_bwd_cuda(
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
    sizes = _sizes(qkv, height, width, block, halo)
    workspace = _cuda.workspace(native.cuda.non_local_workspace(*sizes), qkv)
    tensors = (grad, qkv, attended, softmax, grad_qkv, workspace)
    native.cuda.non_local_bwd((sizes, *map(address, tensors)), _cuda.dtype_code(qkv.dtype), _cuda.target(qkv))
    return grad_qkv.unflatten(2, (3, -1))[..., :d].flatten(2).contiguous()


def _attend_bwd_fake(
    grad: Tensor,
    qkv: Tensor,
    attended: Tensor,
    softmax: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _sizes(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[int, ...]:
    """Sizes for the kernel, to which global attention is one block as large as the map."""
    if block is None or max(height, width) <= block + 2 * halo:
        block, halo = max(height, width, 1), 0
    return qkv.shape[0], height, width, qkv.shape[2] // 3, block, halo


def _cpu_shape(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[int, ...]:
    return *_sizes(qkv, height, width, block, halo), dtype_code(qkv.dtype), torch.get_num_threads()


def _padded(vectors: Tensor, each: int) -> Tensor:
    """``[..., each * D]`` with D as a CUDA kernel has it."""
    d = vectors.shape[-1] // each
    size = next(size for size in CUDA_SIZES if size >= d)
    return vectors if d == size else F.pad(vectors.unflatten(-1, (each, d)), (0, size - d)).flatten(-2)


def _in_pieces(tensor: Tensor) -> Tensor:
    """Dense, and aligned to the 16 bytes that the CUDA kernels read at a time."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, *ctx.sizes = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(qkv, *output)


def backward_by(bwd: Callable[..., Tensor]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradient for torch.library, computed by the op ``bwd``."""

    def backward(ctx: Any, grad: Tensor | None, grad_softmax: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_qkv = None if grad is None else bwd(grad, *ctx.saved_tensors, *ctx.sizes)
        return grad_qkv, None, None, None, None

    return backward


def _setup_context_of_project(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    qkv, _, w_z, _, *ctx.sizes, _ = inputs
    _, attended, softmax = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(qkv, w_z, attended, softmax)


def _backward_of_project(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    """As PyTorch's own for the projection; the kernel's for the attention."""
    qkv, w_z, attended, softmax = ctx.saved_tensors
    want_qkv, want_x, want_w, want_b, *_ = (want and grad is not None for want in ctx.needs_input_grad)
    grad_qkv = attend_bwd(grad @ w_z, qkv, attended, softmax, *ctx.sizes) if want_qkv else None
    grad_w = grad.flatten(0, 1).t() @ attended.flatten(0, 1) if want_w else None
    grad_b = grad.sum((0, 1), dtype=torch.float32).to(grad.dtype) if want_b else None
    return grad_qkv, grad if want_x else None, grad_w, grad_b, *[None] * 5


def _linear_by_pytorch(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    y = F.linear(x, weight, bias)
    return y if residual is None else residual + y


def with_projections(
    attend: Callable[..., tuple[Tensor, Tensor]], linear: Callable[..., Tensor] = _linear_by_pytorch
) -> Callable[..., Tensor]:
    """``non_local`` around its attention alone, ``(qkv, height, width, block, halo) -> (attended, softmax)``, and its
    projections, ``(x, weight, bias, residual) -> W x + b + residual``."""

    def non_local(
        x: Tensor,
        w_theta: Tensor,
        b_theta: Tensor,
        w_phi: Tensor,
        b_phi: Tensor,
        w_g: Tensor,
        b_g: Tensor,
        w_z: Tensor,
        b_z: Tensor,
        block: int | None = None,
        halo: int = 0,
    ) -> Tensor:
        height, width = x.shape[2:]
        tokens, qkv = _projected(x, (w_theta, w_phi, w_g), (b_theta, b_phi, b_g), linear)
        attended, _ = attend(qkv, height, width, block, halo)
        y = linear(attended, w_z, b_z, tokens)
        return laid_out_like(y.transpose(1, 2).reshape(x.shape), x)

    return non_local


def _projected(
    x: Tensor,
    weights: tuple[Tensor, ...],
    biases: tuple[Tensor, ...],
    linear: Callable[..., Tensor] = _linear_by_pytorch,
) -> tuple[Tensor, Tensor]:
    """``x`` as tokens ``[N, H*W, C]``, and ``qkv``."""
    # Dense, or linear would round a bf16 product before it adds the bias.
    tokens = x.flatten(2).transpose(1, 2).contiguous()
    return tokens, linear(tokens, torch.cat(weights), torch.cat(biases), None)


def _non_local_cuda(
    x: Tensor,
    w_theta: Tensor,
    b_theta: Tensor,
    w_phi: Tensor,
    b_phi: Tensor,
    w_g: Tensor,
    b_g: Tensor,
    w_z: Tensor,
    b_z: Tensor,
    block: int | None = None,
    halo: int = 0,
) -> Tensor:
    tensors = (x, w_theta, b_theta, w_phi, b_phi, w_g, b_g, w_z, b_z)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    tokens, qkv = _projected(x, (w_theta, w_phi, w_g), (b_theta, b_phi, b_g))
    y, *_ = attend_project(qkv, tokens, w_z, b_z, *x.shape[2:], block, halo, keep)
    return laid_out_like(y.transpose(1, 2).reshape(x.shape), x)


attend = define("non_local_attend", ATTEND_SCHEMA, cpu=_attend_cpu, fake=_attend_fake)
attend_project = define(
    "non_local_attend_project", ATTEND_PROJECT_SCHEMA, cuda=_attend_project_cuda, fake=_attend_project_fake
)
attend_bwd = define(
    "non_local_attend_bwd", ATTEND_BWD_SCHEMA, cpu=_attend_bwd_cpu, cuda=_attend_bwd_cuda, fake=_attend_bwd_fake
)
differentiable(attend, backward_by(attend_bwd), _setup_context)
differentiable(attend_project, _backward_of_project, _setup_context_of_project)
not_differentiable(attend_bwd)
non_local = define_composite("non_local", SCHEMA, with_projections(attend, linear))
non_local_cuda = define_composite("non_local_cuda", SCHEMA, _non_local_cuda)


def too_long(call: backends.Call, most: int) -> list[str]:
    """Reasons against a backend whose kernels hold ``most`` channels of a query."""
    d = call.size("D")
    return [f"{d} channels of queries (at most {most})"] if d > most else []


backends.register("non_local", "native", non_local, reasons_against)
backends.register(
    "non_local", "cuda", non_local_cuda, lambda call: _cuda.reasons_against(call) + too_long(call, CUDA_SIZES[-1])
)
