"""SHA-256 of files, and of images' pixels whatever encoder wrote them."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from awsrn_fast import images
from awsrn_fast.errors import RunError

_ROWS = 256
"""Rows that are decoded at a time."""
_BYTES = 2**20


def of_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        RunError: it cannot be read.
    """
    found = sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(_BYTES):
                found.update(part)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return found.hexdigest()


def of_pixels(path: Path) -> str:
    """SHA-256 of an image's size and pixels, as float32 in [0, 1], little endian.

    Raises:
        RunError: it cannot be read.
    """
    with images.reader(path, max_pixels=2**62) as reader:
        header = reader.header
        found = sha256(repr((header.size, header.planes, header.depth)).encode())
        for top in range(0, header.height, _ROWS):
            rows = reader.window(top, min(top + _ROWS, header.height), 0, header.width)
            found.update(rows.astype("<f4", copy=False).tobytes())
    return found.hexdigest()
