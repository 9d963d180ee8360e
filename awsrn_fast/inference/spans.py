"""Tiles along an axis: their own parts, which partition the image, and the context around each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in input pixels: its own part [start, stop) and with context [low, high)."""

    start: int
    stop: int
    low: int
    high: int

    @property
    def own(self) -> slice:
        """The own part relative to ``low``."""
        return slice(self.start - self.low, self.stop - self.low)

    def scaled(self, scale: int) -> Span:
        """This span in output pixels."""
        return Span(scale * self.start, scale * self.stop, scale * self.low, scale * self.high)


def spans(length: int, tile: int, context: int, align: int = 1) -> list[Span]:
    """Cut ``length`` into tiles of equal size, at most ``tile`` rounded up to ``align``; starts lie on its multiples.

    Args:
        length: side of the image, at least 1.
        tile: requested side of a tile.
        context: pixels beyond its own part that a tile includes, within the image.
        align: the grid that tiles and what they see start on.
    """
    step = math.ceil(length / math.ceil(length / tile))
    step = math.ceil(step / align) * align
    cut = []
    for start in range(0, length, step):
        low, high = max(0, start - context), min(length, start + step + context)
        cut.append(Span(start, min(start + step, length), low // align * align, high))
    return cut


def parts(span: Span, tile: int, context: int, align: int = 1) -> Iterator[Span]:
    """Cut one tile into smaller ones, which see no more than it did; ``tile`` is a multiple of ``align``."""
    for start in range(span.start, span.stop, tile):
        stop = min(start + tile, span.stop)
        low = max(span.low, (start - context) // align * align)
        yield Span(start, stop, low, min(span.high, stop + context))
