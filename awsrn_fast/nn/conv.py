"""Convolution with weight norm that can be folded for inference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops


class WNConv2d(nn.Module):
    """Square 'same' convolution with weight norm, ``weight = g * v / ||v||`` per output channel.

    Parameters are named as torch's old ``weight_norm`` names them (``weight_g``, ``weight_v``, ``bias``), since the
    public AWSRN checkpoints carry those names. After :meth:`fold` there is one plain ``weight``.

    Args:
        in_channels, out_channels, kernel_size: as in :class:`torch.nn.Conv2d`; the kernel size is odd.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.weight_g = nn.Parameter(_norm(plain.weight.detach()))
        self.weight_v = nn.Parameter(plain.weight.detach())
        self.bias = nn.Parameter(plain.bias.detach())
        self.register_buffer("prepared", None, persistent=False)

    def weight(self) -> Tensor:
        """``[out_channels, in_channels, K, K]``, as the convolution uses it."""
        if "folded" in self._buffers:
            return self.folded
        return self.weight_v * (self.weight_g / _norm(self.weight_v))

    def fold(self) -> None:
        """Replace gain and direction by the weight itself: same output, nothing to compute per call, no training."""
        weight = self.weight().detach()
        del self.weight_g, self.weight_v
        self.register_buffer("folded", weight)
        if weight.shape[-1] == 3:
            self.register_buffer("prepared", ops.conv3x3.prepare(weight), persistent=False)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """``x [N, C, H, W]``; to a 3x3 convolution up to three ``others`` that follow it, as if concatenated."""
        weight = self.weight()
        if weight.shape[-1] == 3:
            x1, x2, x3 = (*others, None, None, None)[:3]
            return ops.conv3x3(x, weight, self.bias, x1, x2, x3, self.prepared)
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


class Scale(nn.Module):
    """One learned factor, ``scale [1]`` (the adaptive weights of AWRU, LFB and AWMS)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([float(value)]))


def _norm(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)  # [out_channels, 1, 1, 1]
