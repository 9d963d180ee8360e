"""The CUDA kernels of ``dwpw_attention``: every value is read and written in the maps' dtype."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cpu import address, addresses

from .limits import too_many_channels

# What the kernels hold in registers and shared memory.
_MOST_CHANNELS = 128


def reasons_against(call: Call) -> list[str]:
    return _cuda.reasons_against(call) + too_many_channels(call, _MOST_CHANNELS)


def fwd(
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
    weights = _in_eights(x.dtype, w_dw, b_dw, w_pw, b_pw, w_a, b_a)
    residual = None if residual is None else _nhwc(residual)
    result = torch.empty((n, d, h, w), dtype=x.dtype, device=x.device, memory_format=layout)
    x = _nhwc(x)
    direct = layout == torch.channels_last and d % 8 == 0
    y = result if direct else _nhwc_like(x, weights[2].shape[0])
    maps = (n, *weights[2].shape[::-1], h, w)
    what = (maps, address(x), addresses(*weights), address(residual), address(y))
    native.cuda.dwpw_attention_fwd(what, _cuda.dtype_code(x.dtype), _cuda.target(x))
    return result if direct else result.copy_(y[:, :d])


def bwd(
    grad_y: Tensor,
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    wanted: list[bool],
) -> tuple[Tensor | None, ...]:
    layout = memory_format(x)
    n, c, h, w = x.shape
    given = (w_dw, b_dw, w_pw, b_pw, w_a, b_a)
    weights = _in_eights(x.dtype, *given)
    result = torch.empty_like(x, memory_format=layout) if wanted[0] else None
    grad_y, x = _nhwc(grad_y), _nhwc(x)
    direct = layout == torch.channels_last and c % 8 == 0
    grad_x = None if result is None else result if direct else torch.empty_like(x)
    grads = [
        torch.empty_like(weight, dtype=torch.float32 if weight.dim() == 1 else x.dtype) if any(wanted[1:]) else None
        for weight in weights
    ]
    maps, dtype, target = (n, *weights[2].shape[::-1], h, w), _cuda.dtype_code(x.dtype), _cuda.target(x)
    workspace = _cuda.workspace(native.cuda.dwpw_attention_bwd_workspace(maps, dtype, target[2]), x)
    grad_depthwise = torch.empty_like(x)
    results = addresses(grad_depthwise, grad_x, *grads, workspace)
    native.cuda.dwpw_attention_bwd((maps, *addresses(grad_y, x), addresses(*weights), *results), dtype, target)
    if result is not None and grad_x is not None and not direct:
        result.copy_(grad_x[:, :c])
    return result, *map(_without_padding, grads, given)


def _nhwc(tensor: Tensor) -> Tensor:
    """A map as the CUDA kernels take it: channels_last, a multiple of 8 channels, 16 bytes aligned."""
    missing = -tensor.shape[1] % 8
    if missing:
        tensor = F.pad(tensor, (0, 0, 0, 0, 0, missing))
    return _aligned(tensor.contiguous(memory_format=torch.channels_last))


def _nhwc_like(x: Tensor, channels: int) -> Tensor:
    n, _, h, w = x.shape
    return torch.empty((n, channels, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _in_eights(dtype: torch.dtype, *weights: Tensor) -> list[Tensor]:
    """The weights for maps of whole eights of channels, zeros added, all in the maps' dtype."""
    return [_aligned(_padded(weight.to(dtype)).contiguous()) for weight in weights]


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
