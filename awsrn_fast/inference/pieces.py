"""Adaptive tile size: halved when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from awsrn_fast.errors import is_out_of_memory
from awsrn_fast.heap import give_back

from .process_memory import OVERHEAD, resident
from .spans import Span, parts


class Pieces:
    """Adaptive tile size, which is halved when memory runs out.

    Args:
        height, width: size of a tile's own part; rounded up to ``align``.
        align: grid that tiles are aligned to; also the smallest tile.
        activations: bytes per pixel of a tile with its context.
        ceiling: bytes that the process may hold; None: not known.
    """

    def __init__(self, height: int, width: int, align: int, activations: int = 0, ceiling: int | None = None) -> None:
        self.height, self.width = (math.ceil(side / align) * align for side in (height, width))
        self.align, self.activations, self.ceiling = align, activations, ceiling

    def run(self, rows: Span, columns: Span, context: int, work: Callable[[Span, Span], None]) -> None:
        """Run ``work`` on a tile, or on parts of it that are small enough."""
        if rows.stop - rows.start > self.height or columns.stop - columns.start > self.width:
            for down in parts(rows, self.height, context, self.align):
                for across in parts(columns, self.width, context, self.align):
                    self.run(down, across, context, work)
            return
        if self.ceiling is not None:
            needed = OVERHEAD + self.activations * (rows.high - rows.low) * (columns.high - columns.low)
            if resident() + needed > self.ceiling:
                give_back()
        try:
            work(rows, columns)
            return
        except (MemoryError, RuntimeError) as error:
            sides = rows.stop - rows.start, columns.stop - columns.start
            if not is_out_of_memory(error) or max(sides) <= self.align:
                raise
        # Outside of the handler, whose traceback keeps the tensors alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.height, self.width = (max(self.align, side // 2 // self.align * self.align) for side in sides)
        self.run(rows, columns, context, work)
