"""``dwpw_attention`` for torch.library: schema, fake, backward, and the kernels for CPU and CUDA."""

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
from awsrn_fast.ops._native import address, addresses, dtype_code, in_float32, reasons_against

# Written out: how much of list[bool] and X | None torch reads from annotations depends on its version.
_INPUTS = "Tensor x, Tensor w_dw, Tensor b_dw, Tensor w_pw, Tensor b_pw, Tensor w_a, Tensor b_a"
SCHEMA = f"({_INPUTS}, Tensor? residual) -> Tensor"
BWD_SCHEMA = f"(Tensor grad_y, {_INPUTS}, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"


# What the CUDA kernels hold in registers and shared memory.
_MOST_CHANNELS = 128


def _reasons_against_cuda(call: backends.Call) -> list[str]:
    return _cuda.reasons_against(call) + too_many_channels(call, _MOST_CHANNELS)


def too_many_channels(call: backends.Call, most: int) -> list[str]:
    """Reasons against a backend whose kernels hold ``most`` channels in, and out."""
    named = {"in": call.shape[1], "out": call.size("D")}
    return [f"{channels} channels {where} (at most {most})" for where, channels in named.items() if channels > most]


def _fwd_cpu(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None,
) -> Tensor:
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    residual = None if residual is None else residual.contiguous(memory_format=layout)
    weights = [in_float32(weight) for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)]
    y = _output(x, w_pw, layout)
    shape = _sizes(x, w_pw, layout)
    native.cpu.dwpw_attention_fwd(shape, address(x), addresses(*weights), address(residual), address(y))
    return y


def _fwd_cuda(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None,
) -> Tensor:
    layout = memory_format(x)
    (n, _, h, w), d = x.shape, w_pw.shape[0]
    weights = _in_eights(w_dw, b_dw, w_pw, b_pw, w_a, b_a)
    residual = None if residual is None else _nhwc(residual)
    result, x = _output(x, w_pw, layout), _nhwc(x)
    direct = layout == torch.channels_last and d % 8 == 0
    y = result if direct else _nhwc_like(x, weights[2].shape[0])
    maps = (n, *weights[2].shape[::-1], h, w)
    what = (maps, address(x), addresses(*weights), address(residual), address(y))
    native.cuda.dwpw_attention_fwd(what, _cuda.dtype_code(x.dtype), _cuda.target(x))
    return result if direct else result.copy_(y[:, :d])


def _fwd_fake(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None,
) -> Tensor:
    return _output(x, w_pw, memory_format(x))


def _bwd_cpu(
    grad_y: Tensor,
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """Gradients of x and of the weights. One that is not wanted is empty: a schema cannot return None."""
    layout = memory_format(x)
    grad_y, x = grad_y.contiguous(memory_format=layout), x.contiguous(memory_format=layout)
    weights = [in_float32(weight) for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)]
    transposed = [weight.t().contiguous() for weight in (weights[2], weights[4])]
    grad_x = torch.empty_like(x, memory_format=layout) if wanted[0] else None
    # The weights' gradients share their work: all of them, or none.
    grads = [torch.empty_like(weight) if any(wanted[1:]) else None for weight in weights]
    given, results = (*addresses(grad_y, x), addresses(*weights), *addresses(*transposed)), addresses(grad_x, *grads)
    native.cpu.dwpw_attention_bwd(_sizes(x, w_pw, layout), *given, *results)
    empty = x.new_empty(0)
    return tuple(
        grad.to(x.dtype) if want else empty.clone() for grad, want in zip((grad_x, *grads), wanted, strict=True)
    )


def _bwd_cuda(
    grad_y: Tensor,
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    """As :func:`_bwd_cpu`; every value is read and written in the maps' dtype, so that nothing needs a cast."""
    layout = memory_format(x)
    n, c, h, w = x.shape
    given = (w_dw, b_dw, w_pw, b_pw, w_a, b_a)
    weights = _in_eights(*given)
    result = torch.empty_like(x, memory_format=layout) if wanted[0] else None
    grad_y, x = _nhwc(grad_y), _nhwc(x)
    direct = layout == torch.channels_last and c % 8 == 0
    grad_x = None if result is None else result if direct else torch.empty_like(x)
    grads = [torch.empty_like(weight) if any(wanted[1:]) else None for weight in weights]
    maps, dtype, target = (n, *weights[2].shape[::-1], h, w), _cuda.dtype_code(x.dtype), _cuda.target(x)
    workspace = _cuda.workspace(native.cuda.dwpw_attention_bwd_workspace(maps, dtype, target[2]), x)
    grad_depthwise = torch.empty_like(x)
    results = addresses(grad_depthwise, grad_x, *grads, workspace)
    native.cuda.dwpw_attention_bwd((maps, *addresses(grad_y, x), addresses(*weights), *results), dtype, target)
    if result is not None and not direct:
        result.copy_(grad_x[:, :c])
    named = zip((result, *map(_without_padding, grads, given)), wanted, strict=True)
    return tuple(grad if want else x.new_empty(0) for grad, want in named)


def _bwd_fake(
    grad_y: Tensor,
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    grads = (grad_x, *(x.new_empty(weight.shape) for weight in (w_dw, b_dw, w_pw, b_pw, w_a, b_a)))
    return tuple(grad if want else x.new_empty(0) for grad, want in zip(grads, wanted, strict=True))


def _output(x: Tensor, w_pw: Tensor, layout: torch.memory_format) -> Tensor:
    n, _, h, w = x.shape
    return torch.empty((n, w_pw.shape[0], h, w), dtype=x.dtype, device=x.device, memory_format=layout)


def _nhwc(tensor: Tensor) -> Tensor:
    """A map as the CUDA kernels take it: channels_last, a multiple of 8 channels, 16 bytes aligned."""
    missing = -tensor.shape[1] % 8
    if missing:
        tensor = F.pad(tensor, (0, 0, 0, 0, 0, missing))
    return _aligned(tensor.contiguous(memory_format=torch.channels_last))


def _nhwc_like(x: Tensor, channels: int) -> Tensor:
    n, _, h, w = x.shape
    return torch.empty((n, channels, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _in_eights(*weights: Tensor) -> list[Tensor]:
    """The weights for maps of whole eights of channels: zeros are added."""
    return [_aligned(_padded(weight).contiguous()) for weight in weights]


def _padded(weight: Tensor) -> Tensor:
    axes = weight.shape[:1] if weight.dim() == 4 else weight.shape  # of channels
    missing = [-size % 8 for size in axes] + [0] * (weight.dim() - len(axes))
    return F.pad(weight, [end for size in reversed(missing) for end in (0, size)]) if any(missing) else weight


def _without_padding(grad: Tensor | None, weight: Tensor) -> Tensor | None:
    if grad is None or grad.shape == weight.shape:
        return grad
    return grad[tuple(slice(size) for size in weight.shape)].clone()


def _aligned(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.data_ptr() % 16 else tensor


def _sizes(x: Tensor, w_pw: Tensor, layout: torch.memory_format) -> tuple[int, int, int, int, int, bool, int, int]:
    n, c, h, w = x.shape
    channels_last = layout == torch.channels_last
    return n, c, w_pw.shape[0], h, w, channels_last, dtype_code(x.dtype), torch.get_num_threads()


def _setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])  # the residual is only added


def backward_by(bwd: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradient for torch.library, computed by the op ``bwd``."""

    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        *wanted, want_residual = ctx.needs_input_grad
        grads = bwd(grad_y, *ctx.saved_tensors, wanted)
        named = [grad if want else None for grad, want in zip(grads, wanted, strict=True)]
        return *named, grad_y if want_residual else None

    return backward


dwpw_attention = define("dwpw_attention", SCHEMA, cpu=_fwd_cpu, cuda=_fwd_cuda, fake=_fwd_fake)
dwpw_attention_bwd = define("dwpw_attention_bwd", BWD_SCHEMA, cpu=_bwd_cpu, cuda=_bwd_cuda, fake=_bwd_fake)
differentiable(dwpw_attention, backward_by(dwpw_attention_bwd), _setup_context)
not_differentiable(dwpw_attention_bwd)
backends.register("dwpw_attention", "native", dwpw_attention, reasons_against)
backends.register("dwpw_attention", "cuda", dwpw_attention, _reasons_against_cuda)
