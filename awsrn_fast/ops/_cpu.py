"""Common parts of the ops' CPU kernels: when they can run, and how tensors are passed to them."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call

DTYPES = (torch.float32, torch.bfloat16)


def reasons_against(call: Call) -> list[str]:
    """Reasons why the CPU kernels cannot run ``call``; empty if they can."""
    reasons = []
    if native.cpu is None:
        reasons.append(native.cpu_reason)
    if call.device != "cpu":
        reasons.append(f"tensors on {call.device} (CPU only)")
    if call.dtype not in DTYPES:
        reasons.append(f"{str(call.dtype).removeprefix('torch.')} (float32 and bfloat16 only)")
    return reasons


def address(tensor: Tensor | None) -> int:
    """Address of the values, 0 for None. The caller keeps the tensor alive until the kernel has returned."""
    return 0 if tensor is None else tensor.data_ptr()


def addresses(*tensors: Tensor | None) -> tuple[int, ...]:
    return tuple(map(address, tensors))


def dtype_code(dtype: torch.dtype) -> int:
    return native.cpu.BFLOAT16 if dtype == torch.bfloat16 else native.cpu.FLOAT32


@overload
def in_float32(tensor: Tensor) -> Tensor: ...
@overload
def in_float32(tensor: Tensor | None) -> Tensor | None: ...
def in_float32(tensor: Tensor | None) -> Tensor | None:
    """Per-channel values and scalars as the kernels take them: dense and in fp32, whatever the maps' dtype."""
    return None if tensor is None else tensor.float().contiguous()


def taps(weight: Tensor) -> Tensor:
    """Weights of a convolution ``[O, C, K, K]`` -> ``[K, K, C, O]``, dense and in fp32."""
    return in_float32(weight.permute(2, 3, 1, 0))


def taps_of_transpose(weight: Tensor) -> Tensor:
    """Weights of the convolution that takes the output's gradient to the input's, as :func:`taps`."""
    return taps(weight.transpose(0, 1).flip(2, 3))


def from_taps(gradient: Tensor, like: Tensor) -> Tensor:
    """A gradient in the layout of :func:`taps` -> that of the weight."""
    return gradient.permute(3, 2, 0, 1).contiguous().to(like.dtype)


def channels_last(x: Tensor) -> Tensor:
    """``x`` in NHWC, for kernels that keep channels together."""
    return x.contiguous(memory_format=torch.channels_last)
