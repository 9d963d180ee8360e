"""AWSRN as its paper and public checkpoints define it, with stock torch layers: the peer of tests and benchmarks.

State-dict keys, arithmetic on 0..255 and separate branches are as the published weights require.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old weight_norm is deprecated, but its names are in the checkpoints
        return nn.utils.weight_norm(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class Factor(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([value]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Unit(nn.Module):
    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.res_scale, self.x_scale = Factor(1.0), Factor(1.0)
        self.body = nn.Sequential(conv(channels, wide, 3), nn.ReLU(), conv(wide, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.res_scale(self.body(x)) + self.x_scale(x)


class Block(nn.Module):
    def __init__(self, channels: int, wide: int, units: int, listed: bool) -> None:
        super().__init__()
        chain = [Unit(channels, wide) for _ in range(units)]
        if listed:  # the second layout of the public code
            self.lfl = nn.ModuleList(chain)
        else:
            for i, unit in enumerate(chain):
                self.add_module(f"b{i}", unit)
        self.names = [f"lfl.{i}" if listed else f"b{i}" for i in range(units)]
        self.reduction = conv(units * channels, channels, 3)
        self.res_scale, self.x_scale = Factor(1.0), Factor(1.0)

    def forward(self, x: Tensor) -> Tensor:
        levels, y = [], x
        for name in self.names:
            y = self.get_submodule(name)(y)
            levels.append(y)
        return self.res_scale(self.reduction(torch.cat(levels, dim=1))) + self.x_scale(x)


class Tail(nn.Module):
    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        for k in (3, 5, 7, 9):
            self.add_module(f"tail_k{k}", conv(channels, 3 * scale**2, k))
            self.add_module(f"scale_k{k}", Factor(0.25))

    def forward(self, x: Tensor) -> Tensor:
        shuffle = nn.functional.pixel_shuffle
        branches = (getattr(self, f"scale_k{k}")(getattr(self, f"tail_k{k}")(x)) for k in (3, 5, 7, 9))
        return sum(shuffle(branch, self.scale) for branch in branches)


class PublicAWSRN(nn.Module):
    """The public network; input and output are RGB in 0..255."""

    def __init__(self, scale: int, channels: int, wide: int, blocks: int, units: int, listed: bool = False) -> None:
        super().__init__()
        self.rgb_mean = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
        self.head = nn.Sequential(conv(3, channels, 3))
        self.body = nn.Sequential(*(Block(channels, wide, units, listed) for _ in range(blocks)))
        self.tail = Tail(channels, scale)
        self.skip = nn.Sequential(conv(3, 3 * scale**2, 3), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.rgb_mean.to(x) * 255
        x = (x - mean) / 127.5
        return (self.tail(self.body(self.head(x))) + self.skip(x)) * 127.5 + mean
