"""Convolutions in plain PyTorch whose bias may be in fp32 beside maps in a lower dtype, as under autocast."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 0, groups: int = 1) -> Tensor:
    """``F.conv2d``, in x's dtype; the gradient of the bias is summed in the bias's."""
    if bias.dtype == x.dtype:
        return F.conv2d(x, weight, bias, padding=padding, groups=groups)
    y = F.conv2d(x, weight, padding=padding, groups=groups)
    return (y + bias[:, None, None]).to(x.dtype)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``, likewise."""
    if bias.dtype == x.dtype:
        return F.linear(x, weight, bias)
    return (F.linear(x, weight) + bias).to(x.dtype)
