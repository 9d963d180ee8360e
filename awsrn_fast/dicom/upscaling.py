"""Upscaling of one DICOM file to another, frame by frame."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.inference.enhance import Array
from awsrn_fast.inference.protocols import Enlarger

from . import series
from .derived import derive
from .grid import LARGEST_SIDE, Grid
from .reading import Scan, decoding, opened
from .writing import written

Result = tuple[tuple[int, int], tuple[int, int], tuple[str, ...]]


def pixels(path: Path, max_pixels: int) -> int:
    """Number of pixels of all frames, by the header. Raises RunError like :func:`upscale`."""
    scan = opened(path, max_pixels)
    return scan.frames * scan.size[0] * scan.size[1]


def upscale(source: Path, target: Path, enlarger: Enlarger, args: Namespace, peers: tuple[Path, ...]) -> Result:
    """Read, upscale and write one DICOM file.

    Args:
        source, target: the files.
        enlarger: the network with its options.
        args: the command's options.
        peers: all DICOM files of the run: those of the same series share the range of values.

    Returns:
        (height, width) of the input and of the output, remarks for the user.

    Raises:
        RunError: input that is refused, or too little memory. Nothing is written then.
    """
    scan = opened(source, args.max_pixels, enlarger.settings.room)
    grid = Grid(scan.size, enlarger.size(*scan.size))
    if max(grid.after) > LARGEST_SIDE:
        raise RunError(
            f"{source}: {grid.after[1]}x{grid.after[0]} pixels are more than DICOM holds ({LARGEST_SIDE} a side)"
        )
    stored = scan.stored
    if series.has_own_range(scan):
        low, high = series.range_of(scan, peers, args.max_pixels)
        stored = replace(stored, low=low, high=high)
    pixels = _Large(replace(scan, stored=stored), grid, enlarger)
    with decoding(source):
        header, remarks = derive(scan, stored, grid, enlarger.identity, args)
    with written(target, header, scan.frames * pixels.frame_bytes) as file:
        for block in pixels.blocks():
            file.write(block)
    return scan.size, grid.after, (*scan.notes, *remarks, *enlarger.remarks)


@dataclass
class _Large:
    """The enlarged frames of a scan."""

    scan: Scan
    grid: Grid
    enlarger: Enlarger

    @property
    def frame_bytes(self) -> int:
        height, width = self.grid.after
        return height * width * self.scan.planes * self.scan.stored.allocated // 8

    def blocks(self) -> Iterator[np.ndarray]:
        """Rows of stored values, of one frame after the other."""
        stored = self.scan.stored
        steps = max(stored.high - stored.low, 1)
        for numbers in self.scan.numbers():
            missing = stored.is_padding(numbers) if stored.padding is not None else None
            padded = missing is not None and bool(missing.any())
            fill = int(numbers[missing][0]) if padded else 0
            unit = Array(stored.to_unit(numbers, padded))
            for rows in self.enlarger.rows(unit, self.scan.resident + unit.values.nbytes, steps):
                yield stored.from_unit(rows, padded, fill)
