"""Reading and writing PNG row by row, in the memory of a few rows.

Pillow decodes whole images only and reduces 16-bit colour to 8 bits. Here the stream is decompressed incrementally and
Pillow's decoder undoes the row filters, a block of rows at a time with the row above prepended.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from .deflate import compressor
from .extras import xmp_of
from .picture import Header
from .png_chunks import SIGNATURE
from .windows import Reader, plainly

_BLOCK = 2**22
"""Bytes of rows that are decoded at a time; at least one row."""
_PIECE = 2**20
_COMPRESSED = 2**18
"""Bytes of rows that are compressed at a time, at least one row: the file does not depend on how rows come."""
# Pillow's modes and raw modes by bytes per pixel; wider pixels are split into high and low bytes.
DECODERS = {1: ("L",), 2: ("LA",), 3: ("RGB",), 4: ("RGBA",), 6: ("RGB;16B", "RGB;16L"), 8: ("RGBA;16B", "RGBA;16L")}
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_UP, _AVERAGE = 2, 3


class PngRows(Reader):
    """Windows of a PNG that ``Facts.in_rows`` allows; ``parts`` are offset and length of each IDAT's data.

    Keeps the rows from the last window's top on, so windows that overlap are decoded once.
    """

    def __init__(self, path: Path, header: Header, parts: list[tuple[int, int]]):
        self.header, self._path, self._parts = header, path, parts
        self._pixel = header.planes * header.samples.dtype.itemsize
        self._file = open(path, "rb")  # noqa: SIM115 - closed with the reader
        row = header.width * self._pixel
        self._step = max(1, _BLOCK // row)
        self.resident = 4 * self._step * row
        self._start()

    def close(self) -> None:
        self._file.close()

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        with plainly(self._path):
            if top < self._top:
                self._start()
            self._drop(top)
            while self._next < bottom:
                rows = self._decode(min(self._step, self.header.height - self._next))
                self._next += len(rows)
                self._blocks.append(rows)
                self._drop(top)
        out = np.empty((bottom - top, right - left, self.header.planes), np.float32)
        at = self._top - top
        for block in self._blocks:  # one by one, so that they are not all in memory twice
            low, high = max(at, 0), min(at + len(block), bottom - top)
            if high <= low:
                break
            rows = block[low - at : high - at, left * self._pixel : right * self._pixel]
            numbers = np.ascontiguousarray(rows).view(self.header.samples.dtype.newbyteorder(">"))
            out[low : low + len(rows)] = self.header.samples.to_unit(numbers).reshape(len(rows), *out.shape[1:])
            at += len(block)
        return out

    def _start(self) -> None:
        self._inflate = zlib.decompressobj()
        self._part, self._within, self._waiting = 0, 0, b""
        self._top = self._next = 0
        self._blocks: list[np.ndarray] = []
        self._above = np.zeros(self.header.width * self._pixel, np.uint8)

    def _drop(self, top: int) -> None:
        while self._blocks and self._top + len(self._blocks[0]) <= top:
            self._top += len(self._blocks.pop(0))
        if not self._blocks:
            self._top = self._next

    def _decode(self, count: int) -> np.ndarray:
        width = 1 + len(self._above)
        rows = np.empty((1 + count, width), np.uint8)
        rows[0, 0], rows[0, 1:] = 0, self._above
        self._fill(rows[1:].data.cast("B"))
        stream = zlib.compress(rows.data, 0)  # only because the decoder expects it
        raw_modes = DECODERS[self._pixel]
        size, mode = (self.header.width, 1 + count), raw_modes[0].split(";")[0]
        bytes_ = [np.asarray(Image.frombytes(mode, size, stream, "zip", raw)) for raw in raw_modes]
        plain = (np.stack(bytes_, axis=-1) if len(bytes_) > 1 else bytes_[0]).reshape(1 + count, -1)
        self._above = plain[-1].copy()
        if self._next + count == self.header.height:
            self._inflate.decompress(self._compressed(), 1)  # the checksum, if present
        return plain[1:]

    def _fill(self, target: memoryview) -> None:
        filled = 0
        while filled < len(target):
            piece = self._inflate.decompress(self._compressed(), len(target) - filled)
            if not piece and (self._inflate.eof or not self._waiting_for_more()):
                raise ValueError("the image data ends early")
            target[filled : filled + len(piece)] = piece
            filled += len(piece)

    def _waiting_for_more(self) -> bool:
        return bool(self._inflate.unconsumed_tail) or self._part < len(self._parts)

    def _compressed(self) -> bytes:
        if self._inflate.unconsumed_tail or self._part == len(self._parts):
            return self._inflate.unconsumed_tail
        offset, length = self._parts[self._part]
        self._file.seek(offset + self._within)
        data = self._file.read(min(_PIECE, length - self._within))
        self._within += len(data)
        if self._within >= length or not data:
            self._part, self._within = self._part + 1, 0
        return data


class PngWriter:
    """Write rows of a PNG of 8 or 16 bits to ``file`` as they come."""

    def __init__(self, file: BinaryIO, header: Header, exif: bytes | None):
        self._file, self._header = file, header
        self._deflate = compressor()
        kind = _COLOR_TYPES[header.planes]
        file.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", header.width, header.height, header.depth, kind, 0, 0, 0))
        if header.icc:
            self._chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(header.icc))
        for name, data in header.extras.chunks:
            self._chunk(name, data)
        self._extras(header)
        if exif:
            self._chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
        self._above: np.ndarray | None = None
        row = header.width * header.planes * header.samples.dtype.itemsize
        self._rows = max(1, _COMPRESSED // row)
        self._waiting = np.empty((0, row), np.uint8)

    def write(self, numbers: np.ndarray) -> None:
        """Rows [k, W, planes] of the header's dtype."""
        big_endian = numbers.astype(">u2") if self._header.depth == 16 else numbers
        rows = np.ascontiguousarray(big_endian).reshape(len(numbers), -1).view(np.uint8)
        rows = np.concatenate((self._waiting, rows))
        whole = len(rows) // self._rows * self._rows
        for top in range(0, whole, self._rows):
            self._block(rows[top : top + self._rows])
        self._waiting = rows[whole:].copy()

    def _block(self, rows: np.ndarray) -> None:
        above = np.empty_like(rows)
        above[0], above[1:] = 0 if self._above is None else self._above, rows[:-1]
        self._above = rows[-1].copy()
        filtered = _filtered(rows, above, self._header.planes * self._header.samples.dtype.itemsize)
        self._data(self._deflate.compress(filtered.data))

    def close(self) -> None:
        """Write what remains."""
        if len(self._waiting):
            self._block(self._waiting)
        self._data(self._deflate.flush())
        self._chunk(b"IEND", b"")

    def _extras(self, header: Header) -> None:
        extras = header.extras
        if extras.resolution is not None:
            unit = "m" if extras.resolution.unit else ""
            x, y = (min(max(round(value), 1), 2**31 - 1) for value in extras.resolution.per(unit))
            self._chunk(b"pHYs", struct.pack(">IIB", x, y, unit == "m"))
        if extras.xmp:
            packet = zlib.compress(xmp_of(extras.xmp, *header.size))
            self._chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packet)
        if extras.comment:
            self._chunk(b"tEXt", b"Comment\0" + extras.comment.replace(b"\0", b" "))

    def _data(self, data: bytes) -> None:
        if data:
            self._chunk(b"IDAT", data)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind)
        self._file.write(data)
        self._file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _filtered(rows: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    """Each row with the filter, Up or Average, that leaves smaller differences (the PNG standard's heuristic).

    Average suits photographs, Up drawings. Paeth is dearer than the compression and made the photograph that it was
    tried on no smaller.

    Args:
        rows: bytes ``[k, W * pixel]``.
        above: the row above each.
        pixel: bytes of a pixel.

    Returns:
        Bytes ``[k, 1 + W * pixel]``, the filter's number first.
    """
    left = np.zeros_like(rows)
    left[:, pixel:] = rows[:, :-pixel]
    up = rows - above
    average = rows - ((left & above) + ((left ^ above) >> 1))  # the mean, rounded down, without a carry
    smaller = _size(average) < _size(up)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = np.where(smaller, _AVERAGE, _UP)
    filtered[:, 1:] = np.where(smaller[:, None], average, up)
    return filtered


def _size(differences: np.ndarray) -> np.ndarray:
    """Sum of each row's bytes, taken as signed."""
    return np.minimum(differences, -differences).sum(axis=1, dtype=np.int64)
