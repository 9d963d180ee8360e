"""Stored values of DICOM's pixels and their mapping to [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stored:
    """Type and range of an image's stored values.

    Attributes:
        bits: BitsStored.
        signed: PixelRepresentation.
        allocated: BitsAllocated, 8 or 16.
        inverted: MONOCHROME1: the smallest value is white.
        padding: smallest and largest value that stand for no pixel; None: there are none.
        low, high: the values that become 0 and 1.
    """

    bits: int
    signed: bool
    allocated: int
    inverted: bool = False
    padding: tuple[int, int] | None = None
    low: int = 0
    high: int = 1

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def declared(self) -> tuple[int, int]:
        """Smallest and largest number that the bits hold."""
        top = 1 << (self.bits - self.signed)
        return (-top if self.signed else 0), top - 1

    def is_padding(self, numbers: np.ndarray) -> np.ndarray:
        """Mask of the values that stand for no pixel."""
        if self.padding is None:
            return np.zeros(numbers.shape, bool)
        return (numbers >= self.padding[0]) & (numbers <= self.padding[1])

    def to_unit(self, numbers: np.ndarray, padded: bool) -> np.ndarray:
        """Numbers as float32 in [0, 1], as they are displayed; with ``padded`` one plane more, 0 where there is no
        pixel."""
        unit = (numbers.astype(np.float64) - self.low) / max(self.high - self.low, 1)
        unit = np.clip(1 - unit if self.inverted else unit, 0, 1).astype(np.float32)
        if not padded:
            return unit
        return np.concatenate((unit, ~self.is_padding(numbers)), axis=2, dtype=np.float32)

    def from_unit(self, values: np.ndarray, padded: bool, fill: int = 0) -> np.ndarray:
        """Values as numbers for a file, rounded once and within [low, high]; ``fill`` where there is no pixel."""
        unit = np.clip(values[..., :-1] if padded else values, 0, 1).astype(np.float64)
        if self.inverted:
            unit = 1 - unit
        numbers = np.rint(self.low + unit * (self.high - self.low)).astype(np.int64)
        if self.padding is not None:
            numbers = self._beside(numbers, *self.padding)
        if padded:
            numbers = np.where(values[..., -1:] < 0.5, fill, numbers)
        return numbers.astype(self.dtype)

    def _beside(self, numbers: np.ndarray, low: int, high: int) -> np.ndarray:
        """The numbers, those of ``low`` to ``high``, which mean no pixel, replaced by the nearest that does not."""
        below, above = low - 1, high + 1
        if below < self.declared[0]:
            below = above
        if above > self.declared[1]:
            above = below
        nearest = np.where(numbers - low < high - numbers, below, above)
        return np.where(self.is_padding(numbers), nearest, numbers)
