"""Output of any size: the network's integer factor, then downscaling to the requested size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from awsrn_fast.errors import RunError

REACH = 3
"""Radius of the Lanczos kernel, in pixels of the smaller image."""
ROWS = 64
"""Rows of the smaller image that are computed at once."""
UNSEEN = 1 / 512
"""Alpha below which a pixel has no colour of its own."""


@dataclass(frozen=True)
class Size:
    """Requested output size: ``factor`` times the input's, or this width or height, or both (pixels)."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None

    @property
    def ending(self) -> str:
        """Ending of the names of files of this size, such as ``_x3.5``."""
        if self.factor is not None:
            return f"_x{self.factor:g}"
        return "".join(f"_{letter}{side}" for letter, side in (("w", self.width), ("h", self.height)) if side)

    def __str__(self) -> str:
        """The size in words: ``x3.5``, ``to a width of 800``."""
        if self.factor is not None:
            return f"x{self.factor:g}"
        sides = (f"a {name} of {side}" for name, side in (("width", self.width), ("height", self.height)) if side)
        return "to " + " and ".join(sides)

    def of(self, height: int, width: int, scale: int) -> tuple[int, int]:
        """Height and width of the result for an image that the network upscales by ``scale``.

        If one side is given, the other preserves the aspect ratio.

        Raises:
            RunError: larger than the network's result.
        """
        if self.factor is not None:
            wanted = (self.factor * height, self.factor * width)
        else:
            factor = min(side / own for side, own in ((self.width, width), (self.height, height)) if side)
            wanted = (self.height or factor * height, self.width or factor * width)
        rounded = tuple(max(1, math.floor(side + 0.5)) for side in wanted)
        if rounded[0] > scale * height or rounded[1] > scale * width:
            need = max(rounded[0] / height, rounded[1] / width)
            raise RunError(
                f"{rounded[1]}x{rounded[0]} pixels are x{need:.3g} of {width}x{height}, the network makes x{scale}: "
                "give a larger --scale, or upscale the result once more"
            )
        return rounded[0], rounded[1]


def shrunk(rows: Iterable[np.ndarray], before: tuple[int, int], after: tuple[int, int]) -> Iterator[np.ndarray]:
    """The image, streamed from top to bottom, downscaled with a Lanczos-3 kernel.

    Colours are weighted by alpha, so that invisible colours do not bleed in.

    Args:
        rows: float32 ``[rows, W, planes]``; of two or four planes the last is alpha.
        before: (height, width) of the image.
        after: (height, width) of the result, neither larger than before.

    Yields:
        float32 ``[rows, w, planes]``.
    """
    if before == after:
        yield from rows
        return
    ratio = before[0] / after[0]
    held: list[np.ndarray] = []
    low = high = top = 0  # buffered rows of the larger image; completed rows of the smaller one
    for part in rows:
        held.append(_premultiplied(part))
        high += len(part)
        while top < after[0]:
            bottom = min(top + ROWS, after[0])
            first, last = _seen(top, bottom, ratio, before[0])
            if last > high:
                break
            kept = np.concatenate(held) if len(held) > 1 else held[0]
            held, low = [kept[first - low :]], first
            yield _straight(_resized(held[0], (top * ratio - low, bottom * ratio - low), (bottom - top, after[1])))
            top = bottom


def _seen(top: int, bottom: int, ratio: float, height: int) -> tuple[int, int]:
    """Rows of the larger image that rows ``top`` to ``bottom`` of the smaller one depend on, or a few more."""
    reach = math.ceil(REACH * ratio) + 1
    return max(0, math.floor(top * ratio) - reach), min(height, math.ceil(bottom * ratio) + reach)


def _resized(values: np.ndarray, box: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    # Pillow's kernel reads beyond the box, up to the array's own border: strips fit together.
    area = (0, max(0.0, box[0]), values.shape[1], min(float(len(values)), box[1]))
    planes = [Image.fromarray(np.ascontiguousarray(values[..., p])) for p in range(values.shape[2])]
    return np.stack([np.asarray(p.resize(size[::-1], Image.Resampling.LANCZOS, area)) for p in planes], axis=2)


def _has_alpha(values: np.ndarray) -> bool:
    return values.shape[2] in (2, 4)


def _premultiplied(values: np.ndarray) -> np.ndarray:
    if not _has_alpha(values):
        return values
    return np.concatenate((values[..., :-1] * values[..., -1:], values[..., -1:]), axis=2)


def _straight(values: np.ndarray) -> np.ndarray:
    if not _has_alpha(values):
        return values
    alpha = values[..., -1:]
    return np.concatenate((values[..., :-1] / np.maximum(alpha, UNSEEN), np.clip(alpha, 0, 1)), axis=2)
