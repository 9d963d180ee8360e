"""Rows that are written to PNG, read by pypng, which shares no code with the writer."""

from __future__ import annotations

import io
import zlib

import numpy as np
import png
import pytest

from awsrn_fast.images.picture import Header, Samples
from awsrn_fast.images.png_rows import PngWriter


def photograph(height: int, width: int, planes: int, top: int) -> np.ndarray:
    """A slope with noise, for which Average leaves less than Up."""
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(height), np.arange(width))[..., None] / (height + width)
    return (top * np.clip(slope + rng.normal(0, 0.05, (height, width, planes)), 0, 1)).astype(np.uint16)


def drawing(height: int, width: int, planes: int, top: int) -> np.ndarray:
    """Columns of their own values, all rows alike: Up leaves nothing."""
    rng = np.random.default_rng(1)
    return np.broadcast_to(rng.integers(0, top + 1, (1, width, planes)), (height, width, planes)).astype(np.uint16)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_both_filters_and_what_the_rows_above_were(planes, depth, step):
    top = 2**depth - 1
    numbers = np.concatenate([make(7, 11, planes, top) for make in (photograph, drawing, photograph, drawing)])
    numbers = numbers.astype(np.uint8 if depth == 8 else np.uint16)
    samples = Samples(numbers.dtype, 0, top)
    header = Header(len(numbers), 11, gray=planes < 3, alpha=planes in (2, 4), samples=samples)
    file = io.BytesIO()
    writer = PngWriter(file, header, None)
    for first in range(0, len(numbers), step):
        writer.write(numbers[first : first + step])
    writer.close()

    width, height, rows, info = png.Reader(bytes=file.getvalue()).read()
    assert (width, height, info["bitdepth"], info["planes"]) == (11, 28, depth, planes)
    np.testing.assert_array_equal(np.array([list(row) for row in rows]), numbers.reshape(28, -1))
    used = {row[0] for row in _filtered_rows(file.getvalue(), 28)}
    assert used == {2, 3}


def _filtered_rows(data: bytes, height: int) -> np.ndarray:
    chunks = b"".join(content for kind, content in png.Reader(bytes=data).chunks() if kind == b"IDAT")
    return np.frombuffer(zlib.decompress(chunks), np.uint8).reshape(height, -1)


def test_the_file_does_not_depend_on_how_rows_come():
    numbers = photograph(900, 700, 3, 255).astype(np.uint8)  # eight blocks
    files = []
    for step in (1, 7, 899, 900):
        file = io.BytesIO()
        writer = PngWriter(file, Header(900, 700, samples=Samples(numbers.dtype, 0, 255)), None)
        for first in range(0, len(numbers), step):
            writer.write(numbers[first : first + step])
        writer.close()
        files.append(file.getvalue())
    assert len(set(files)) == 1
