"""The blocks that the improved network adds: DSA, channel attention, non-local fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops


def squeezed(channels: int) -> int:
    """Hidden width of a channel gate: a sixteenth of the channels, but at least 4 (r = 16 alone would leave 2)."""
    return max(channels // 16, 4)


class ChannelAttention(nn.Module):
    """Gate per channel from the channels' means, ``sigmoid(W2 relu(W1 mean + b1) + b2)`` (eq. 1-2, 11).

    Args:
        channels: C.
        bias: False for eq. 11, which has none.
        neutral: start with W2 = 0 and b2 = 0, a gate of exactly one half everywhere.
    """

    def __init__(self, channels: int, bias: bool = True, neutral: bool = False) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed(channels), bias=bias)
        self.excite = nn.Linear(squeezed(channels), channels, bias=bias)
        if neutral:
            nn.init.zeros_(self.excite.weight)
            if bias:
                nn.init.zeros_(self.excite.bias)

    def forward(self, mean: Tensor) -> Tensor:
        """``mean [N, C]`` -> ``gate [N, C]``."""
        squeeze, excite = self.squeeze, self.excite
        return ops.channel_attention(mean, squeeze.weight, squeeze.bias, excite.weight, excite.bias)


class DWPWAttention(nn.Module):
    """Depthwise separable convolution with pixel attention, ``x + A * Y`` (DSA, eq. 3-6).

    Args:
        channels: C, in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Linear(channels, channels)
        self.attention = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same shape; the input is added to the result."""
        depthwise, pointwise, attention = self.depthwise, self.pointwise, self.attention
        assert depthwise.bias is not None
        return ops.dwpw_attention(
            x,
            depthwise.weight,
            depthwise.bias,
            pointwise.weight,
            pointwise.bias,
            attention.weight,
            attention.bias,
            residual=x,
        )


class NonLocal(nn.Module):
    """Embedded-Gaussian attention over positions with a residual (eq. 7-10); starts as the identity (W_z = 0).

    Args:
        channels: C; queries, keys and values have C/2.
        block, halo: span of the attention, see :func:`awsrn_fast.ops.non_local`. ``block=None`` is the paper's
            equation; the default keeps the cost linear in the map: any query sees 48x48 keys.
    """

    def __init__(self, channels: int, block: int | None = 32, halo: int = 8) -> None:
        super().__init__()
        self.block, self.halo = block, halo
        inner = channels // 2
        self.theta = nn.Linear(channels, inner)
        self.phi = nn.Linear(channels, inner)
        self.g = nn.Linear(channels, inner)
        self.z = nn.Linear(inner, channels)
        nn.init.zeros_(self.z.weight)
        nn.init.zeros_(self.z.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same shape."""
        theta, phi, g, z = self.theta, self.phi, self.g, self.z
        queries_and_keys = (theta.weight, theta.bias, phi.weight, phi.bias)
        values_and_output = (g.weight, g.bias, z.weight, z.bias)
        return ops.non_local(x, *queries_and_keys, *values_and_output, self.block, self.halo)

    def keys_and_values(self, x: Tensor) -> Tensor:
        """``[1, C, h, w]`` -> keys and values of its positions, ``[2, 1, 1, h * w, D]``."""
        tokens = x.flatten(2).transpose(1, 2)
        return torch.stack((self.phi(tokens), self.g(tokens)))[:, :, None]

    def attend(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The layer on a part of a map ``[1, C, h, w]``, from keys and values ``[1, 1, K, D]`` of all positions."""
        query = self.theta(x.flatten(2).transpose(1, 2))[:, None]
        keys, values = keys.to(query.dtype), values.to(query.dtype)
        attended = F.scaled_dot_product_attention(query, keys, values, scale=1.0)[:, 0]
        return x + self.z(attended).transpose(1, 2).reshape(x.shape)
