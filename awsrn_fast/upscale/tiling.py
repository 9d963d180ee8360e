"""Large images in tiles that overlap, so that memory follows the tile and not the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from awsrn_fast.inference import exact_context

TILE = 512
"""Default side of a tile in input pixels; images of up to its square go through whole."""


@dataclass(frozen=True)
class Span:
    """Along one axis, in input pixels: the tile's own part [start, stop) and what it sees of the image, [low, high)."""

    start: int
    stop: int
    low: int
    high: int


def spans(length: int, tile: int, context: int, align: int = 1) -> list[Span]:
    """Cut ``length`` into tiles of equal size, at most ``tile`` rounded up to ``align``; starts lie on its multiples.

    Args:
        length: side of the image, at least 1.
        tile: wanted side of a tile.
        context: how far a tile must see beyond its own part, where the image goes on.
        align: the grid that tiles and what they see start on.
    """
    step = math.ceil(length / math.ceil(length / tile))
    step = math.ceil(step / align) * align
    cut = []
    for start in range(0, length, step):
        low, high = max(0, start - context), min(length, start + step + context)
        cut.append(Span(start, min(start + step, length), low // align * align, high))
    return cut


class Tiler(nn.Module):
    """Run ``model`` over ``x`` in tiles; each result is cropped to the tile's own part and placed, never blended.

    Tiles start on the block grid of the non-local span, which is anchored at the image's (0, 0), and see
    ``exact_context`` beyond their own part; edges of the image stay true borders. So a network without pooled gates
    (the baseline) gives the whole image's result up to rounding. The improved network's channel gates are means over
    what it is given: here over a tile, so that tiles differ a little from the whole image (and from each other) until
    the gates are taken from the whole image. A non-local fusion with global span sees its tile only.

    Args:
        model: network ``[N, 3, H, W] -> [N, 3, sH, sW]`` with ``facts`` (scale, receptive_field, block, halo).
        tile: side of a tile in input pixels; None: never tile.
        context: input pixels seen beyond a tile; None: ``exact_context``. Less is faster and leaves seams.
    """

    def __init__(self, model: nn.Module, tile: int | None = TILE, context: int | None = None):
        super().__init__()
        self.model, self.tile = model, tile
        self.facts = model.facts
        self.context = exact_context(self.facts) if context is None else context
        self.on_tile: Callable[[int], None] = lambda pixels: None
        """Called after each tile with the number of input pixels done."""

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``, fp32, on x's device."""
        n, _, height, width = x.shape
        if not self.cuts(height, width):
            y = self.model(x)
            self.on_tile(height * width)
            return y
        scale = self.facts.scale
        out: Tensor | None = None
        for rows, columns in self.tiles(height, width):
            y = self.model(x[:, :, rows.low : rows.high, columns.low : columns.high])
            if out is None:
                out = torch.empty(n, y.shape[1], scale * height, scale * width, device=x.device)
            out[:, :, _scaled(rows, scale), _scaled(columns, scale)] = y[:, :, _own(rows, scale), _own(columns, scale)]
            self.on_tile((rows.stop - rows.start) * (columns.stop - columns.start))
        return out

    def cuts(self, height: int, width: int) -> bool:
        """Whether an image of this size is tiled."""
        return self.tile is not None and height * width > self.tile**2

    def tiles(self, height: int, width: int) -> Iterator[tuple[Span, Span]]:
        """Rows and columns of each tile of an image of this size."""
        align = self.facts.block or 1
        across = spans(width, self.tile, self.context, align)
        for rows in spans(height, self.tile, self.context, align):
            for columns in across:
                yield rows, columns


def _scaled(span: Span, scale: int) -> slice:
    return slice(scale * span.start, scale * span.stop)


def _own(span: Span, scale: int) -> slice:
    return slice(scale * (span.start - span.low), scale * (span.stop - span.low))
