"""The non-local fusion as one exported program for every map size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from awsrn_fast.nn import NonLocal


class GlobalNonLocal(nn.Module):
    """A :class:`~awsrn_fast.nn.NonLocal` of global span with its softmax written out.

    OpenVINO 2026.4 replaces product, Softmax, product of unknown size by a kernel that forgets to divide by the sum.

    Args:
        layer: the layer whose weights are shared.
    """

    def __init__(self, layer: NonLocal) -> None:
        super().__init__()
        self.theta, self.phi, self.g, self.z = layer.theta, layer.phi, layer.g, layer.z

    def forward(self, x: Tensor) -> Tensor:
        """``[1, C, H, W]`` -> the same shape."""
        tokens = x[0].flatten(1).transpose(0, 1)  # [H * W, C]
        query, key, value = self.theta(tokens), self.phi(tokens), self.g(tokens)
        score = query @ key.transpose(0, 1)
        weight = torch.exp(score - score.amax(dim=1, keepdim=True))
        attended = weight @ value / weight.sum(dim=1, keepdim=True)
        return x + self.z(attended).transpose(0, 1).reshape(x.shape)


class BlockNonLocal(nn.Module):
    """A :class:`~awsrn_fast.nn.NonLocal` of a block span, in operators whose sizes may stay unknown.

    The reference decides by the map's size (does one span cover it?) and pads its last blocks; an exported program can
    do neither without being bound to the sizes it was made with. Here every block has a whole span, at the image's
    borders of positions that lie outside, whose scores are minus infinity. The sums are the same.

    Args:
        layer: the layer whose weights are shared; its block is not None.
    """

    def __init__(self, layer: NonLocal) -> None:
        super().__init__()
        self.theta, self.phi, self.g, self.z = layer.theta, layer.phi, layer.g, layer.z
        assert layer.block is not None
        self.block, self.halo = layer.block, layer.halo

    def forward(self, x: Tensor) -> Tensor:
        """``[1, C, H, W]`` -> the same shape."""
        height, width = x.shape[2:]
        block = self.block
        down, across = (height + block - 1) // block, (width + block - 1) // block
        # One extra block: export would specialise a dimension that may be 1.
        index = torch.arange(down * across + 1, dtype=torch.int64, device=x.device)
        row = index // across
        rows, key_rows, row_is_inside = self._positions(row, height)
        columns, key_columns, column_is_inside = self._positions(index - row * across, width)

        tokens = x[0].permute(1, 2, 0)  # [H, W, C]
        query = _gathered(self.theta(tokens), rows, columns)  # [blocks, block * block, D]
        key, value = (_gathered(p(tokens), key_rows, key_columns) for p in (self.phi, self.g))
        inside = (row_is_inside[:, :, None] & column_is_inside[:, None, :]).flatten(1)
        bias = torch.where(inside, 0.0, -math.inf).to(x.dtype)[:, None]  # [blocks, 1, span * span]
        attended = torch.softmax(query @ key.transpose(1, 2) + bias, dim=-1) @ value

        i, j = (torch.arange(size, dtype=torch.int64, device=x.device) for size in (height, width))
        i = i[:, None]
        attended = attended[i // block * across + j // block, i % block * block + j % block]  # [H, W, D]
        return x + self.z(attended).permute(2, 0, 1)[None]

    def _positions(self, block_index: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Positions of each block's queries and keys along one axis, and a mask of the keys within the image."""
        span = self.block + 2 * self.halo
        last = torch.arange(size - 1, size, dtype=torch.int64, device=block_index.device)
        first = (block_index * self.block)[:, None]
        queries = torch.minimum(first + torch.arange(self.block, dtype=torch.int64, device=first.device), last)
        start = torch.minimum(first - self.halo, last - (span - 1)).clamp(min=0)
        keys = start + torch.arange(span, dtype=torch.int64, device=first.device)
        return queries, torch.minimum(keys, last), keys <= last


def _gathered(tokens: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``[H, W, D]`` at every pair of a block's rows ``[B, R]`` and columns ``[B, R]`` -> ``[B, R * R, D]``."""
    return tokens[rows[:, :, None], columns[:, None, :]].flatten(1, 2)
