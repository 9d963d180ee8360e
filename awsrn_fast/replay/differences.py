"""How far one image is from another, pixel by pixel, a few rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from awsrn_fast import images
from awsrn_fast.errors import RunError

_ROWS = 256


@dataclass(frozen=True)
class Difference:
    """Of two images, in gray levels of 255; ``share`` of the samples differ."""

    largest: float
    rms: float
    share: float

    def __str__(self) -> str:
        return f"{self.share:.3%} of the samples differ, at most by {self.largest:.2f} gray levels (rms {self.rms:.4f})"


def difference(first: Path, second: Path) -> Difference | None:
    """The difference of two files' pixels; None: one cannot be read, or they differ in size or planes."""
    try:
        with images.reader(first, 2**62) as a, images.reader(second, 2**62) as b:
            if (a.header.size, a.header.planes) != (b.header.size, b.header.planes):
                return None
            largest = squares = count = differing = 0.0
            for top in range(0, a.header.height, _ROWS):
                window = (top, min(top + _ROWS, a.header.height), 0, a.header.width)
                off = 255 * np.abs(a.window(*window).astype(np.float64) - b.window(*window))
                largest = max(largest, float(off.max()))
                squares += float(np.square(off).sum())
                differing += float(np.count_nonzero(off))
                count += off.size
    except RunError:
        return None
    return Difference(largest, math.sqrt(squares / count), differing / count)
