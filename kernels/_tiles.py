"""The tile of a launch, which each op chooses by kernel, architecture, dtype and channels alone."""

from __future__ import annotations

Tiles = dict[str, int]
"""Block sizes and launch options of a kernel, by the names of its arguments."""


def padded(channels: int) -> int:
    """Channels of a tile whose products run on tensor cores: a power of two, at least 16."""
    return max(16, 1 << (channels - 1).bit_length())
