"""Writing of image files, atomically: whole or not at all."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image

from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing

from .extras import xmp_of
from .jpeg import iptc_segment
from .metadata import LONGEST, exif_for
from .picture import FORMATS, Header, Picture
from .png_rows import PngWriter
from .tiff_rows import TiffWriter

# JPEG's fields reach 65,535, but libjpeg stops at 65,500.
_LARGEST_SIDE = dict.fromkeys(("BMP", "PNG", "TIFF"), 2**31 - 1)
_LARGEST_SIDE |= {"AVIF": 65535, "JPEG": 65500, "HEIF": 16383, "WEBP": 16383}
_LARGEST_BMP = 2**32 - 1
_BLOCK = 2**22
"""Bytes of float values that are rounded at a time; at least one row."""


def check_writable(path: str | os.PathLike, header: Header) -> None:
    """Raise RunError if the format of ``path`` cannot store such an image; names a format that can."""
    path = Path(path)
    format, size = format_of(path), header.size
    if max(size) > _LARGEST_SIDE[format]:
        raise RunError(
            f"cannot write {path}: {size[1]}x{size[0]} pixels are more than {format} holds "
            f"({_LARGEST_SIDE[format]} a side); write PNG or TIFF instead"
        )
    if format == "BMP" and header.height * (header.width * header.planes + 3) > _LARGEST_BMP:
        raise RunError(
            f"cannot write {path}: {size[1]}x{size[0]} pixels are more than the 4 GB of BMP; write PNG instead"
        )
    if not header.samples.natural and format != "TIFF":
        kind = f"{header.samples.dtype} from {header.samples.low:g} to {header.samples.high:g}"
        raise RunError(f"cannot write {path}: {format} cannot keep the image's values ({kind}); write TIFF instead")
    if header.alpha and format in ("JPEG", "BMP"):
        raise RunError(f"cannot write {path}: {format} keeps no alpha; write PNG, WebP or TIFF instead")
    if header.depth == 16 and format not in ("PNG", "TIFF"):
        raise RunError(
            f"cannot write {path}: {format} has 8 bits per sample, the image has 16; write PNG or TIFF instead"
        )


def write(path: str | os.PathLike, picture: Picture, quality: int | None = None) -> None:
    """Write ``picture``; the rest as in ``writer``."""
    with writer(path, picture.header, quality) as file:
        step = max(1, _BLOCK // (4 * picture.header.width * picture.header.planes))
        for top in range(0, picture.size[0], step):
            file.write(picture.rows(top, top + step))


class Rows(Protocol):
    """The object that ``writer`` yields."""

    def write(self, rows: np.ndarray) -> None:
        """The next rows, float32 [k, W, planes], alpha last; clipped to [0, 1] and rounded once, to the depth."""


@contextmanager
def writer(path: str | os.PathLike, header: Header, quality: int | None = None) -> Iterator[Rows]:
    """Write an image row by row, in the format of ``path``'s suffix, whole or not at all.

    PNG and TIFF are streamed; JPEG, WebP, AVIF and BMP are buffered, in the file's depth, until all rows are there.
    WebP has no gray (written as RGB) and is lossless at quality 100, or where ``quality`` (95) is not given and the
    header's ``lossless`` is true. Metadata that the format cannot store are named by ``not_kept``. TIFF of more than 4
    GB becomes BigTIFF.

    Raises:
        RunError: the format cannot hold the image, or the file cannot be written.
        ValueError: fewer or more rows than the header says, when the block ends.
    """
    path = Path(path)
    check_writable(path, header)
    format = format_of(path)
    exif = exif_for(header, format)
    with replacing(path) as beside, open(beside, "wb") as file:
        if format == "PNG":
            encoder: Encoder = PngWriter(file, header, None if exif is None else exif.tobytes())
        elif format == "TIFF":
            # Missing samples are a value in the file, not a plane.
            encoder = TiffWriter(file, replace(header, alpha=header.alpha and header.samples.missing is None), exif)
        else:
            encoder = _Kept(file, header, format, quality, exif)
        rows = _Rounded(encoder, header)
        yield rows
        if rows.count != header.height:
            raise ValueError(f"{path}: {rows.count} rows were written of {header.height}")
        try:
            encoder.close()
        except (ValueError, RuntimeError, SystemError, struct.error) as error:
            raise RunError(f"cannot write {path}: {error}") from error


def held(path: str | os.PathLike, header: Header) -> int:
    """Most bytes that ``writer`` holds: rows, or the whole image if the format is not streamed."""
    if format_of(Path(path)) in ("PNG", "TIFF"):
        return 4 * _BLOCK
    return 2 * header.height * header.width * header.planes


def format_of(path: Path) -> str:
    """Format by suffix. Raises RunError for one that is not known."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise RunError(f"cannot write {path}: the suffix must be one of {' '.join(FORMATS)}") from None


class Encoder(Protocol):
    """Writer of one format's files."""

    def write(self, numbers: np.ndarray) -> None:
        """Rows [k, W, planes] of the header's dtype, from top to bottom."""

    def close(self) -> None:
        """Write what remains."""


class _Rounded:
    """Adapter that rounds float rows to the file's type, a block at a time."""

    def __init__(self, encoder: Encoder, header: Header):
        self._encoder, self._header, self.count = encoder, header, 0

    def write(self, rows: np.ndarray) -> None:
        expected = (self._header.width, self._header.planes)
        if rows.shape[1:] != expected:
            raise ValueError(f"rows [k, {rows.shape[1:]}] do not fit the header's {expected}")
        step = max(1, _BLOCK // (4 * expected[0] * expected[1]))
        for top in range(0, len(rows), step):
            self._encoder.write(self._header.samples.from_unit(rows[top : top + step]))
        self.count += len(rows)


class _Kept:
    """Writer for formats that Pillow writes from a whole image."""

    def __init__(self, file: BinaryIO, header: Header, format: str, quality: int | None, exif: Image.Exif | None):
        self._file, self._format = file, format
        self._numbers = np.empty((*header.size, header.planes), np.uint8)
        self._options = _options(header, format, quality, exif)
        self._row = 0

    def write(self, numbers: np.ndarray) -> None:
        self._numbers[self._row : self._row + len(numbers)] = numbers
        self._row += len(numbers)

    def close(self) -> None:
        image = Image.fromarray(self._numbers[..., 0] if self._numbers.shape[2] == 1 else self._numbers)
        # Through memory: on a full disk Pillow's encoders report only an error number.
        data = io.BytesIO()
        image.save(data, format=self._format, **self._options)
        self._file.write(data.getbuffer())


def _options(header: Header, format: str, quality: int | None, exif: Image.Exif | None) -> dict[str, Any]:
    """Options for Pillow's encoder."""
    extras = header.extras
    options: dict[str, Any] = {"icc_profile": header.icc, "quality": quality or 95}
    if exif is not None:
        options["exif"] = exif.tobytes()
    if extras.xmp and (format != "JPEG" or len(extras.xmp) <= LONGEST):
        options["xmp"] = xmp_of(extras.xmp, *header.size)
    if format in ("JPEG", "BMP") and extras.resolution is not None and extras.resolution.unit:
        dpi = extras.resolution.per("inch")
        if format == "BMP" or max(dpi) <= LONGEST:
            options["dpi"] = tuple(max(1, round(value)) for value in dpi) if format == "JPEG" else dpi
    if format == "JPEG":
        options["subsampling"] = 0
        if extras.iptc and len(extras.iptc) <= LONGEST:
            options["extra"] = iptc_segment(extras.iptc)
        if extras.comment and len(extras.comment) <= LONGEST:
            options["comment"] = extras.comment
    elif format == "WEBP":
        options |= {"lossless": quality == 100 or (quality is None and header.lossless), "exact": True}
    elif format == "AVIF":
        options["subsampling"] = "4:0:0" if header.gray else "4:4:4"
    elif format == "HEIF":
        options["chroma"] = 444
    return options
