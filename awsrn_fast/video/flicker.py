"""Flicker: how much areas change from frame to frame that do not change in the input."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_STILL = 1 / 255
"""Difference of the input up to which a pixel counts as still."""


@dataclass
class Flicker:
    """Sums of absolute differences of successive frames, where the input is still.

    Attributes:
        pixels: number of still pixels of the input.
        before, after: sums of the mean absolute differences at these, in the input and in the result, in [0, 1].
    """

    pixels: int = 0
    before: float = 0.0
    after: float = 0.0
    _last: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def add(self, small: np.ndarray, large: np.ndarray) -> None:
        """The next frame of the input and of the result, ``[H, W, 3]`` as whole numbers of one type."""
        last, self._last = self._last, (small, large)
        if last is None:
            return
        top = np.iinfo(small.dtype).max
        change = _difference(small, last[0], top)
        still = change.max(axis=2) <= _STILL * 1.01
        if not still.any():
            return
        rows = (np.arange(large.shape[0]) * small.shape[0] // large.shape[0])[:, None]
        columns = np.arange(large.shape[1]) * small.shape[1] // large.shape[1]
        where = still[rows, columns]
        count = int(still.sum())
        self.pixels += count
        self.before += float(change[still].mean()) * count
        self.after += float(_difference(large, last[1], top)[where].mean()) * count

    def cut(self) -> None:
        """Forget the last frame: the next one is not compared with it."""
        self._last = None

    def __iadd__(self, other: Flicker) -> Flicker:
        self.pixels, self.before, self.after = (
            self.pixels + other.pixels,
            self.before + other.before,
            self.after + other.after,
        )
        return self

    def __str__(self) -> str:
        if not self.pixels:
            return "nothing stands still, so flicker is not measured"
        before, after = (255 * total / self.pixels for total in (self.before, self.after))
        return f"flicker of still areas {after:.2f} gray levels, {before:.2f} in the input"


def _difference(first: np.ndarray, second: np.ndarray, top: int) -> np.ndarray:
    return np.abs(first.astype(np.float32) - second) / top
