"""``channel_attention`` for torch.library: schema, fake, backward, and the CUDA kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._library import define, differentiable, not_differentiable
from awsrn_fast.ops._native import address

_INPUTS = "Tensor mean, Tensor w1, Tensor? b1, Tensor w2, Tensor? b2"
SCHEMA = f"({_INPUTS}) -> Tensor"
BWD_SCHEMA = f"(Tensor grad_gate, {_INPUTS}, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"


def _fwd_cuda(mean: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    inputs = [_dense(tensor) for tensor in (mean, w1, b1, w2, b2)]
    gate = _fwd_fake(*inputs)
    hidden = _cuda.workspace(mean.shape[0] * w1.shape[0], mean)
    what = ((*mean.shape, w1.shape[0]), *map(address, (*inputs, gate, hidden)))
    native.cuda.channel_attention_fwd(what, _cuda.dtype_code(mean.dtype), _cuda.target(mean))
    return gate


def _fwd_fake(mean: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    return mean.new_empty(mean.shape)


def _bwd_cuda(
    grad_gate: Tensor,
    mean: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of mean, w1, b1, w2, b2. One that is not wanted is empty: a schema cannot return None."""
    (n, c), r = mean.shape, w1.shape[0]
    inputs = [_dense(tensor) for tensor in (grad_gate, mean, w1, b1, w2, b2)]
    grads = _bwd_fake(*inputs, wanted)
    outputs = (grad if want else None for grad, want in zip(grads, wanted, strict=True))
    hidden, to_hidden, to_gate = _cuda.workspace(n * (2 * r + c), mean).split([n * r, n * r, n * c])
    what = ((n, c, r), *map(address, (*inputs, *outputs, hidden, to_hidden, to_gate)))
    native.cuda.channel_attention_bwd(what, _cuda.dtype_code(mean.dtype), _cuda.target(mean))
    return grads


def _bwd_fake(
    grad_gate: Tensor,
    mean: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = zip((mean, w1, b1, w2, b2), wanted, strict=True)
    return tuple(mean.new_empty(tensor.shape if want else 0) for tensor, want in inputs)


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward_by(bwd: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradient for torch.library, computed by the op ``bwd``."""

    def backward(ctx: Any, grad_gate: Tensor) -> tuple[Tensor | None, ...]:
        wanted = list(ctx.needs_input_grad)
        grads = bwd(grad_gate, *ctx.saved_tensors, wanted)
        return tuple(grad if want else None for grad, want in zip(grads, wanted, strict=True))

    return backward


channel_attention = define("channel_attention", SCHEMA, cuda=_fwd_cuda, fake=_fwd_fake)
channel_attention_bwd = define("channel_attention_bwd", BWD_SCHEMA, cuda=_bwd_cuda, fake=_bwd_fake)
differentiable(channel_attention, backward_by(channel_attention_bwd), _setup_context)
not_differentiable(channel_attention_bwd)
backends.register("channel_attention", "cuda", channel_attention, _cuda.reasons_against)
