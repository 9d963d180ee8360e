"""PNG encoders beside each other: ``python benchmarks/write_png.py IMAGE ...``.

Prints for each image milliseconds of processor time (the fastest of three) and megabytes of the file: this package's
writer, Pillow's at its default level 6 and at level 1, and libpng as imagecodecs calls it; then the ratios of totals.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from awsrn_fast.images.picture import Header
from awsrn_fast.images.png_rows import PngWriter

ROWS = 128
"""Rows a call, as the command writes them."""


def ours(pixels: np.ndarray) -> int:
    """Bytes of the file that this package writes of ``pixels`` [H, W, 3]."""
    file = io.BytesIO()
    writer = PngWriter(file, Header(*pixels.shape[:2]), None)
    for top in range(0, len(pixels), ROWS):
        writer.write(pixels[top : top + ROWS])
    writer.close()
    return len(file.getvalue())


def pillow(level: int) -> Callable[[np.ndarray], int]:
    """The same by Pillow at a level of zlib."""

    def encode(pixels: np.ndarray) -> int:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=level)
        return len(file.getvalue())

    return encode


ENCODERS: dict[str, Callable[[np.ndarray], int]] = {
    "awsrn_fast": ours,
    "Pillow 6": pillow(6),
    "Pillow 1": pillow(1),
    "imagecodecs": lambda pixels: len(imagecodecs.png_encode(pixels)),
}


def measured(encode: Callable[[np.ndarray], int], pixels: np.ndarray) -> tuple[float, int]:
    """Seconds of processor time, the fastest of three, and bytes."""
    seconds = []
    for _ in range(3):
        before = time.process_time()
        size = encode(pixels)
        seconds.append(time.process_time() - before)
    return min(seconds), size


def main(paths: list[str]) -> None:
    """Print the table."""
    totals = {name: np.zeros(2) for name in ENCODERS}
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        row = {name: measured(encode, pixels) for name, encode in ENCODERS.items()}
        for name, figures in row.items():
            totals[name] += figures
        print(f"{Path(path).name:20}", *(f"{name} {1e3 * s:6.0f} ms {b / 1e6:6.2f} MB" for name, (s, b) in row.items()))
    own = totals["awsrn_fast"]
    for name, figures in totals.items():
        time_ratio, size_ratio = figures / own
        print(f"{name:12} {time_ratio:6.2f}x the time, {size_ratio:5.3f}x the bytes of awsrn_fast")


if __name__ == "__main__":
    main(sys.argv[1:])
