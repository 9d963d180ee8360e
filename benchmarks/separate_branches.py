"""``awms`` as the separate branches that it merges: convolutions of 3x3, 5x5, ..., each with a PixelShuffle."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def in_branches(weight: Tensor) -> Callable[..., Tensor]:
    """``awms``' reference with ``weight [O, C, K, K]`` split into branches once, at construction: each has a ring of
    the merged kernel, so that they add up to it without rounding. Takes the arguments of ``awms``."""
    kernel = weight.shape[-1]
    nhwc = weight.is_contiguous(memory_format=torch.channels_last)
    parts = []
    for size in range(3, kernel + 1, 2):
        edge = (kernel - size) // 2
        part = weight[..., edge : kernel - edge, edge : kernel - edge]
        part = part.clone(memory_format=torch.channels_last if nhwc else torch.contiguous_format)
        if size > 3:
            part[..., 1:-1, 1:-1] = 0
        parts.append(part)

    def run(
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        skip: Tensor | None,
        scale: int,
        out_scale: float = 1,
        out_shift: Tensor | None = None,
        clamp: bool = False,
    ) -> Tensor:
        biases = [bias] + [None] * (len(parts) - 1)
        branches = (F.conv2d(x, part, b, padding="same") for part, b in zip(parts, biases, strict=True))
        y = sum(F.pixel_shuffle(branch, scale) for branch in branches)
        y = (y if skip is None else y + F.pixel_shuffle(skip, scale)) * out_scale
        y = y if out_shift is None else y + out_shift[:, None, None]
        return y.clamp(0, 1) if clamp else y

    return run
