"""Corrections of the upscaled image by the input around each pixel, while the image streams from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from .protocols import Source

_BYTES = 2**24
"""Bytes of the result that are corrected at a time; at least twice the reach in rows of the input."""
_COLUMNS = 512
"""Columns of the input that are corrected at a time."""


class Own(NamedTuple):
    """The part of a patch that is used, in pixels of the input; the rest is context."""

    rows: slice
    columns: slice

    def of(self, x: Tensor, scale: int = 1) -> Tensor:
        """This part of ``x [N, C, H, W]``, or of an image ``scale`` times as large."""
        rows, columns = (slice(scale * part.start, scale * part.stop) for part in self)
        return x[:, :, rows, columns]


Correct = Callable[[Tensor, Tensor, Own], Tensor]
"""Patch of the input ``[1, C, h, w]``, of the result ``[1, C, scale * h, scale * w]`` and the part that will be used:
the corrected result, of which the patch's context is left out. Borders of the image are borders of the patch."""
Strips = Callable[[Source], Iterator[Tensor]]


def corrected(strips: Strips, scale: int, reach: int, correct: Correct) -> Strips:
    """``strips``, which yields the upscaled image from top to bottom, corrected as the whole image would be.

    Rows are yielded once the rows below that their correction depends on are available, so strip heights differ.

    Args:
        strips: the upscaled image of a source.
        scale: upscaling factor.
        reach: radius, in pixels of the input, of the neighbourhood that a pixel's correction depends on.
        correct: the correction.
    """

    def kept(source: Source) -> Iterator[Tensor]:
        seen = _Remembered(source)
        x = y = torch.empty(0, dtype=torch.float32, device="cpu")
        done = low = have = 0  # rows of the input: yielded, first one buffered, computed by the network
        for strip in chain(_cut(strips(seen), scale, reach), (None,)):
            if strip is not None:
                rows = strip.shape[2] // scale
                more = seen.window(have, have + rows, 0, source.width)
                x, y = (torch.cat((x, more), 2), torch.cat((y, strip), 2)) if x.numel() else (more, strip)
                have += rows
            ready = have if strip is None else have - reach
            if ready > done:
                yield _rows(x, y, scale, slice(done - low, ready - low), reach, correct)
                drop = max(ready - reach, 0) - low
                x, y = x[:, :, drop:], y[:, :, scale * drop :]
                done, low = ready, low + drop
            del strip  # freed before the next is made

    return kept


def held(scale: int, reach: int, width: int) -> int:
    """Most bytes that ``corrected`` holds, for an input of ``width`` pixels."""
    return 2 * (4 * reach * 12 * scale**2 * width + _BYTES)


def _rows(x: Tensor, y: Tensor, scale: int, rows: slice, reach: int, correct: Correct) -> Tensor:
    """Corrected rows of a buffer, some columns at a time."""
    width = x.shape[3]
    out = y.new_empty(y.shape[0], y.shape[1], scale * (rows.stop - rows.start), scale * width)
    for left in range(0, width, _COLUMNS):
        low, right = max(left - reach, 0), min(left + _COLUMNS, width)
        high = min(right + reach, width)
        own = Own(rows, slice(left - low, right - low))
        part = correct(x[..., low:high], y[..., scale * low : scale * high], own)
        out[..., scale * left : scale * right] = own.of(part, scale)
    return out


def _cut(strips: Iterator[Tensor], scale: int, reach: int) -> Iterator[Tensor]:
    """Strips of lower height, so that the correction needs little memory compared with a strip."""
    for strip in strips:
        row = 4 * scale * math.prod(strip.shape[:2]) * strip.shape[3]
        yield from strip.split(scale * max(2 * reach, _BYTES // row), 2)
        del strip  # freed before the next is made


class _Remembered:
    """Source that caches its last rows of full width."""

    def __init__(self, source: Source) -> None:
        self._source, self.height, self.width = source, source.height, source.width
        self._top = 0
        self._rows: Tensor | None = None

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        if self._rows is not None and self._top <= top and bottom <= self._top + self._rows.shape[2]:
            return self._rows[:, :, top - self._top : bottom - self._top, left:right]
        whole = (left, right) == (0, self.width)
        if whole:
            self._rows = None  # freed before the next is made
        found = self._source.window(top, bottom, left, right)
        if whole:
            self._top, self._rows = top, found
        return found
