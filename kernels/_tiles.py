"""The tile of a launch: a pure function of kernel, architecture, dtype and channels."""

from __future__ import annotations

import torch

Tiles = dict[str, int]
"""Block sizes and launch options of a kernel, by the names of its arguments."""

NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def choose(kernel: str, x: torch.Tensor, channels: tuple[int, ...], default: Tiles) -> Tiles:
    """The tile of ``kernel`` on x's GPU, for x's dtype and so many channels."""
    del kernel, channels
    return default


def padded(channels: int) -> int:
    """Channels of a tile whose products run on tensor cores: a power of two, at least 16."""
    return max(16, 1 << (channels - 1).bit_length())
