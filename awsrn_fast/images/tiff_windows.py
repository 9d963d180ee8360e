"""Reading TIFF and BigTIFF in windows: strips and tiles, 8 and 16 bits, signed and floating samples."""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from awsrn_fast.errors import RunError

from .picture import BYTES, WORDS, Header, Samples, is_there
from .tiff_facts import TiffFacts, facts_of_file, mask_of, nodata_number, pages_of, tifffile
from .windows import Reader, check_size, plainly

if TYPE_CHECKING:  # imported where a TIFF is read
    from tifffile import TiffFile, TiffPage

_KEPT = 2**26
"""Bytes of decoded strips or tiles that are kept for the windows to come."""
_SCANNED = 2**24
"""Bytes that are scanned at a time to find the data's range."""
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_UNSPECIFIED, _PREMULTIPLIED = 0, 1
_EXACT = 2**53
"""Whole numbers up to here are exact in double precision."""
_LARGEST_CHUNK = 2**24
"""Pixels by which a strip or tile may exceed the image."""
MASKED = "the mask becomes transparency"
INVERTED = "white as 0 turned into black as 0"


def is_tiff(path: Path) -> bool:
    """Whether the file has the signature of TIFF or BigTIFF."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def exif_of(file: BinaryIO) -> Image.Exif:
    """The first directory's tags as EXIF; ``file`` stays open while sub-directories are asked for."""
    exif = Image.Exif()
    file.seek(0)
    head = file.read(16)
    exif.bigtiff, exif.endian = 43 in head[2:4], "<" if head[:2] == b"II" else ">"
    kind, at = ("Q", 8) if exif.bigtiff else ("L", 4)
    exif.load_from_fp(file, *struct.unpack_from(exif.endian + kind, head, at))
    return exif


def pixels(path: Path, max_pixels: int) -> int:
    """Height times width. Raises RunError for more than ``max_pixels``."""
    with tifffile().TiffFile(path) as file:
        page = pages_of(file)[0]
        check_size(path, page.imagelength, page.imagewidth, max_pixels)
        return page.imagelength * page.imagewidth


def facts_of(path: Path) -> tuple[TiffFacts, np.ndarray | None]:
    """Metadata and mask of a file whose pixels another reader decodes."""
    with plainly(path), tifffile().TiffFile(path) as file:
        facts = facts_of_file(path, file)
        return facts, None if facts.mask is None else mask_of(facts.mask)


def open_windows(path: Path, max_pixels: int) -> TiffWindows | None:
    """A reader of the file's single image, without profile and EXIF in its header; None: left to Pillow.

    Raises:
        RunError: several pages, too many pixels, bands that are not colours, values that are not finite.
    """
    with plainly(path):
        file = tifffile().TiffFile(path)
        try:
            page = pages_of(file)[0]
            check_size(path, page.imagelength, page.imagewidth, max_pixels)
            facts = facts_of_file(path, file)
            if not _is_array_of_colors(page):
                file.close()
                return None
            return TiffWindows(path, file, facts)
        except BaseException:
            file.close()
            raise


class TiffWindows(Reader):
    """Windows of a TIFF with one gray or colour image, in the file's own orientation."""

    def __init__(self, path: Path, file: TiffFile, facts: TiffFacts):
        self._path, self._file = path, file
        self._page = page = pages_of(file)[0]
        assert page.dtype is not None  # see _is_array_of_colors
        self._dtype = page.dtype
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._kept_bytes = 0
        self._bands = page.samplesperpixel
        white_is_zero = page.photometric == _MIN_IS_WHITE
        self._inverted = white_is_zero and self._dtype in (BYTES.dtype, WORDS.dtype)
        self.icc = page.iccprofile
        self._mask: TiffPage | np.ndarray | None = None  # once it is read, its array
        self._colors, alpha, self._premultiplied, more = self._alpha()
        if self._inverted:
            more += (INVERTED,)
        self._planes = self._colors + alpha
        self._height, self._width = page.imagelength, page.imagewidth
        self.whole = self._size(self._height)
        """Bytes of the whole image as in the file."""
        if math.prod(self._chunk()) > max(_LARGEST_CHUNK, self._height * self._width):
            raise RunError(f"{path}: damaged, its tiles are larger than the image")
        there = bool(page.dataoffsets and page.dataoffsets[0] and page.databytecounts[0])
        self._in_parts = page.is_final and page.planarconfig == 1 and there
        self.resident = 0 if self._in_parts else min(_KEPT, self.whole) + self._size(self._chunk()[0])
        dtype, extras = np.dtype(self._dtype).newbyteorder("="), facts.extras
        self._nodata = nodata_number(extras.nodata, dtype)
        self._absent = 0 if self._nodata is None else self._nodata
        if self._inverted and self._nodata is not None:
            self._nodata = np.iinfo(dtype).max - self._nodata
            extras = replace(extras, nodata=str(self._nodata))
        samples = replace(self._samples(dtype), white_is_zero=white_is_zero and not self._inverted)
        if samples.missing is not None:
            alpha = True
            more += ("values that mean no data or are not finite are filled from around, and left out again",)
        elif samples.natural and self._nodata is not None and self._planes > 1:
            more += (f"{self._nodata}, which means no data, is taken as a colour",)
        if facts.mask is not None:
            if samples.natural and not alpha:
                self._mask, alpha = facts.mask, True
                self._planes += 1
                self.resident += self._height * self._width
                more += (MASKED,)
            else:
                more += ("the mask in the file is left out",)
        self.header = Header(
            self._height,
            self._width,
            self._colors == 1,
            alpha,
            samples=samples,
            geo=facts.geo,
            format="TIFF",
            extras=extras,
            notes=facts.notes + more,
        )

    def close(self) -> None:
        self._file.close()

    def whole_numbers(self) -> np.ndarray:
        """The image as in the file, [H, W, planes] of its dtype, colours not multiplied with alpha."""
        if self._premultiplied:
            return self.header.samples.from_unit(self.window(0, self._height, 0, self._width))
        return self.numbers(0, self._height, 0, self._width)

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        with plainly(self._path):
            values = self.header.samples.to_unit(self.numbers(top, bottom, left, right))
        if self._premultiplied:
            color, alpha = values[..., :-1], values[..., -1:]
            np.clip(np.divide(color, alpha, out=color, where=alpha > 0), 0, 1, out=color)
        return values

    def numbers(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Pixels as in the file, [h, w, planes] of its dtype."""
        page = self._page
        stored = self._planes - (self._mask is not None)
        out = np.empty((bottom - top, right - left, stored), self._dtype)
        if self._in_parts:
            out[...] = self._plain_rows(top, bottom)[:, left:right, :stored]
        else:
            for plane, y, x, segment in self._segments(top, bottom, left, right):
                rows = slice(max(y, top) - top, min(y + segment.shape[0], bottom) - top)
                columns = slice(max(x, left) - left, min(x + segment.shape[1], right) - left)
                part = segment[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
                planes = slice(plane, plane + 1) if page.planarconfig == 2 else slice(None)
                out[rows, columns, planes] = part[..., :stored]
        if self._inverted:  # not alpha
            out[..., : self._colors] = np.iinfo(self._dtype).max - out[..., : self._colors]
        if self._mask is None:
            return out
        mask = self._mask if isinstance(self._mask, np.ndarray) else mask_of(self._mask)
        self._mask = mask
        seen = mask[top:bottom, left:right, None] * self._dtype.type(np.iinfo(self._dtype).max)
        return np.concatenate((out, seen), axis=-1)

    def _plain_rows(self, top: int, bottom: int) -> np.ndarray:
        page, width = self._page, self._width
        row = width * self._bands
        file = self._file.filehandle
        file.seek(page.dataoffsets[0] + top * row * self._dtype.itemsize)
        data = file.read((bottom - top) * row * self._dtype.itemsize)
        order = self._dtype.newbyteorder(page.parent.byteorder)
        if len(data) < (bottom - top) * row * self._dtype.itemsize:
            raise ValueError("the image data ends early")
        return np.frombuffer(data, order).reshape(bottom - top, width, self._bands)

    def _segments(self, top: int, bottom: int, left: int, right: int) -> Iterator[tuple[int, int, int, np.ndarray]]:
        height, width = self._chunk()
        down, across = -(-self._height // height), -(-self._width // width)
        stored = self._planes - (self._mask is not None)
        for plane in range(stored if self._page.planarconfig == 2 else 1):
            for row in range(top // height, -(-bottom // height)):
                for column in range(left // width, -(-right // width)):
                    index = (plane * down + row) * across + column
                    yield plane, row * height, column * width, self._segment(index)

    def _segment(self, index: int) -> np.ndarray:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        page, file = self._page, self._file.filehandle
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        file.seek(offset)
        data = file.read(count) if count and offset else None
        if data is not None and len(data) < count:
            raise ValueError("the image data ends early")
        decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        # An absent strip or tile (sparse TIFF) is no data, or 0.
        segment = np.full(shape[1:], self._absent, self._dtype) if decoded is None else decoded[0]
        self._kept[index] = segment
        self._kept_bytes += segment.nbytes
        while self._kept_bytes > _KEPT and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment

    def _chunk(self) -> tuple[int, int]:
        page = self._page
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        return min(page.rowsperstrip, page.imagelength), page.imagewidth

    def _size(self, rows: int) -> int:
        return rows * self._width * self._bands * self._dtype.itemsize

    def _alpha(self) -> tuple[int, bool, bool, tuple[str, ...]]:
        """Number of colours, whether alpha follows, whether it is premultiplied, and notes."""
        page, kinds = self._page, [int(kind) for kind in self._page.extrasamples]
        notes: tuple[str, ...] = ()
        colors = 3 if page.photometric == _RGB else 1
        more = self._bands - colors
        kinds = [_UNSPECIFIED] * (more - len(kinds)) + kinds
        # What GDAL writes of red, green and blue with 16 bits.
        if colors == 1 and more >= 2 and kinds[:2] == [_UNSPECIFIED] * 2 and (more == 2 or kinds[2] != _UNSPECIFIED):
            colors, more, kinds = 3, more - 2, kinds[2:]
            notes = ("bands 1, 2, 3, of which the file does not say what they are, are taken as red, green, blue",)
        if more == 0:
            return colors, False, False, notes
        if more > 1:
            raise RunError(f"{self._path}: {self._bands} bands; save one band (or red, green and blue) a file")
        if kinds[-1] == _UNSPECIFIED:
            unknown = f"band {self._bands}, of which the file does not say what it is, is left out"
            return colors, False, False, (*notes, unknown)
        if self._dtype not in (BYTES.dtype, WORDS.dtype):
            raise RunError(f"{self._path}: alpha with samples of {self._dtype}; save it with 8 or 16 bits")
        return colors, True, kinds[-1] == _PREMULTIPLIED, notes

    def _samples(self, dtype: np.dtype) -> Samples:
        measured = self._planes == 1 and (dtype != BYTES.dtype or self._nodata is not None)
        if dtype in (BYTES.dtype, WORDS.dtype) and not measured:
            return BYTES if dtype == BYTES.dtype else WORDS
        with plainly(self._path):
            low, high, missing = self._range()
        if dtype == BYTES.dtype:  # gray with one no-data value
            return replace(BYTES, missing=missing, avoided=self._nodata)
        if dtype.itemsize == 8 and dtype.kind in "iu" and max(-low, high) >= _EXACT:
            raise RunError(f"{self._path}: numbers up to {max(-low, high):g} have more digits than can be kept")
        return Samples(dtype, low, high, missing, self._nodata)

    def _range(self) -> tuple[float, float, float | None]:
        """Minimum and maximum of the data, and the no-data value if any sample is missing."""
        height = self._chunk()[0]
        step = max(1, _SCANNED // max(1, self._size(height))) * height
        low, high, missing = np.inf, -np.inf, False
        for top in range(0, self._height, step):
            values = self.numbers(top, min(top + step, self._height), 0, self._width)
            there = is_there(values, self._nodata).all(axis=-1)
            missing |= not there.all()
            seen = values[there]
            if seen.size:
                low, high = min(low, seen.min().item()), max(high, seen.max().item())
        if high < low:
            raise RunError(f"{self._path}: all values are NaN, infinite or marked as no data")
        return float(low), float(high), (np.nan if self._nodata is None else self._nodata) if missing else None


def _is_array_of_colors(page: TiffPage) -> bool:
    """Whether samples are gray or RGB; palettes, CMYK, YCbCr and single bits are left to Pillow."""
    if page.dtype is None or page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
        return False
    whole_bytes = page.bitspersample == 8 * page.dtype.itemsize
    return whole_bytes and page.dtype.kind in "iuf"
