"""Writing of DICOM: header and frames one after the other, in explicit little endian."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing

from .reading import decoding

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST = 2**32 - 2
"""Bytes that the length of an element holds."""


class Pixels:
    """The element of the pixels, which is filled block by block."""

    def __init__(self, file: BinaryIO, header: Dataset, size: int):
        self._file, self._left = file, size
        word = b"OW" if header.BitsAllocated > 8 else b"OB"
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, word, 0, size + size % 2))
        self._odd = size % 2

    def write(self, block: np.ndarray) -> None:
        """The next values, in the order of rows, columns, colours."""
        data = np.ascontiguousarray(block).data.cast("B")
        self._left -= len(data)
        self._file.write(data)

    def close(self) -> None:
        if self._left:
            raise ValueError(f"{self._left} bytes of pixels are missing")
        self._file.write(b"\0" * self._odd)


@contextmanager
def written(path: Path, header: Dataset, size: int) -> Iterator[Pixels]:
    """Write a DICOM file, whole or not at all; the block writes the pixels.

    Args:
        path: where to.
        header: the data set, with its meta information.
        size: bytes of all pixels.

    Raises:
        RunError: more bytes than DICOM holds, or the file cannot be written.
    """
    if size > _MOST:
        raise RunError(f"cannot write {path}: {size / 1e9:.1f} GB of pixels are more than DICOM's 4.3 GB a file")
    with decoding(path):
        beginning = io.BytesIO()
        header.save_as(beginning, implicit_vr=False, little_endian=True, enforce_file_format=True)
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(beginning.getbuffer())
        pixels = Pixels(file, header, size)
        yield pixels
        pixels.close()
