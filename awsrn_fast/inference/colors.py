"""Colour correction of the network's result: local mean colours equal the input's, flat areas stay flat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from .protocols import Source

REACH = 8
"""Radius, in input pixels, of the neighbourhood that a pixel's correction depends on."""
_MEAN = 4
"""Half the side of the square whose mean colour is kept."""
_FLAT = 2
"""Half the side of the square that counts as flat where all its pixels are the same."""
_BYTES = 2**24
"""Bytes of the result that are corrected at a time; at least 16 rows of the input."""
_COLUMNS = 512
"""Columns of the input that are corrected at a time."""


def keep_colors(x: Tensor, y: Tensor, scale: int) -> Tensor:
    """``y``, the network's result for ``x``, with the mean colours of ``x`` and with its flat areas.

    A network is trained on details. In flat areas it may be off by one level, in saturated colours by more, and by
    dozens at the border of the image, where its convolutions see zero padding. So the difference between ``x`` and
    ``y`` in its resolution, averaged over 9x9 pixels, is added: details stay as they are. Where ``x`` is the same as
    far as six pixels around, ``y`` becomes that colour, with a soft edge.

    Args:
        x: ``[N, C, H, W]`` in [0, 1].
        y: ``[N, C, scale * H, scale * W]``.
        scale: upscaling factor.
    """
    off = x - F.avg_pool2d(y.clamp(0, 1), scale)
    y = y + F.interpolate(_mean(off, _MEAN), scale_factor=scale, mode="bilinear")
    varies = (_largest(x, _FLAT) != -_largest(-x, _FLAT)).any(1, keepdim=True).to(x.dtype)
    if varies.all():
        return y
    flat = 1 - _mean(_largest(varies, _FLAT), _FLAT)
    flat = F.interpolate(flat, scale_factor=scale, mode="bilinear")
    return torch.lerp(y, F.interpolate(x, scale_factor=scale, mode="nearest"), flat)


def keeping_colors(strips: Callable[[Source], Iterator[Tensor]], scale: int) -> Callable[[Source], Iterator[Tensor]]:
    """``strips``, which yields the upscaled image from top to bottom, corrected as by ``keep_colors`` on the whole.

    Rows are yielded once the rows below that their correction depends on are available, so strip heights differ.
    """

    def kept(source: Source) -> Iterator[Tensor]:
        seen = _Remembered(source)
        x: Tensor | None = None
        y: Tensor | None = None
        done = low = have = 0  # rows of the input: yielded, first one buffered, computed by the network
        for strip in chain(_cut(strips(seen), scale), (None,)):
            if strip is not None:
                rows = strip.shape[2] // scale
                more = seen.window(have, have + rows, 0, source.width)
                x, y = (more, strip) if x is None or y is None else (torch.cat((x, more), 2), torch.cat((y, strip), 2))
                have += rows
            ready = have if strip is None else have - REACH
            if ready > done and x is not None and y is not None:
                yield _rows(x, y, scale, done - low, ready - low)
                drop = max(ready - REACH, 0) - low
                x, y = x[:, :, drop:], y[:, :, scale * drop :]
                done, low = ready, low + drop
            del strip  # before the next

    return kept


def _rows(x: Tensor, y: Tensor, scale: int, top: int, bottom: int) -> Tensor:
    """Rows [top, bottom) of ``keep_colors``, some columns at a time."""
    width = x.shape[3]
    out = y.new_empty(y.shape[0], y.shape[1], scale * (bottom - top), scale * width)
    for left in range(0, width, _COLUMNS):
        low, right = max(left - REACH, 0), min(left + _COLUMNS, width)
        seen = slice(low, right + REACH)
        part = keep_colors(x[..., seen], y[..., scale * seen.start : scale * seen.stop], scale)
        part = part[:, :, scale * top : scale * bottom, scale * (left - low) : scale * (right - low)]
        out[..., scale * left : scale * right] = part
    return out


def _cut(strips: Iterator[Tensor], scale: int) -> Iterator[Tensor]:
    """Strips of lower height, so that the correction needs little memory compared with a strip."""
    for strip in strips:
        row = 4 * scale * math.prod(strip.shape[:2]) * strip.shape[3]
        yield from strip.split(scale * max(2 * REACH, _BYTES // row), 2)
        del strip  # before the next


def _mean(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)


def _largest(x: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)


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
            self._rows = None  # before the next
        found = self._source.window(top, bottom, left, right)
        if whole:
            self._top, self._rows = top, found
        return found
