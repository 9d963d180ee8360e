"""Sizes that compressed frames declare themselves, compared with the header before a decoder allocates them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from awsrn_fast.errors import RunError
from awsrn_fast.images.windows import plainly

if TYPE_CHECKING:
    from pydicom import Dataset

_JPEG_FAMILY = "1.2.840.10008.1.2.4."
"""Beginning of the transfer syntaxes of JPEG, JPEG-LS, JPEG 2000 and films."""
_FILMS = range(100, 109)


def check(path: Path, header: Dataset, syntax: str) -> None:
    """Raise RunError where a frame's own size is not the header's, or a film is inside."""
    if not syntax.startswith(_JPEG_FAMILY):
        return
    if int(syntax[len(_JPEG_FAMILY) :].split(".")[0]) in _FILMS:
        raise RunError(f"{path}: DICOM with a film inside (MPEG), which is not read; export it as MP4")
    with warnings.catch_warnings(), plainly(path), open(path, "rb") as file:
        warnings.simplefilter("ignore")
        for number, frame in enumerate(_frames(file), 1):
            size = _size(frame)
            if size is not None and size != (header.Rows, header.Columns):
                raise RunError(
                    f"{path}: damaged: frame {number} is compressed as {size[1]}x{size[0]} pixels, the header says "
                    f"{header.Columns}x{header.Rows}"
                )


def _frames(file: BinaryIO) -> Iterator[bytes]:
    from pydicom import dcmread
    from pydicom.encaps import generate_fragments

    dcmread(file, stop_before_pixels=True, force=True)  # leaves the file at the element of the pixels
    file.seek(12, 1)
    for number, fragment in enumerate(generate_fragments(file)):
        # The first is the table of offsets in some files; a fragment that goes on with a frame has no header.
        if number or fragment:
            yield fragment


def _size(stream: bytes) -> tuple[int, int] | None:
    """Height and width of a codestream; None: it does not begin with a header."""
    if stream[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000
        right, bottom, left, top = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
        return bottom - top, right - left
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
