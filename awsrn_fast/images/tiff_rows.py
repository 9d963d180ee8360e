"""Writing TIFF and BigTIFF row by row: compressed strips first, then the directory that points to them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from . import geo
from .deflate import compressed
from .extras import xmp_of
from .picture import Header

_STRIP = 2**18
"""Bytes of a strip before compression; at least one row."""
_LARGEST_CLASSIC = 2**32 - 2**26
"""Bytes that classic TIFF's 32-bit offsets reach, less some for directory and incompressible strips."""
_SHORT, _LONG, _UNDEFINED, _LONG8, _ASCII, _DOUBLE, _BYTE, _RATIONAL = 3, 4, 7, 16, 2, 12, 1, 5
_FORMATS = {_SHORT: "H", _LONG: "I", _LONG8: "Q", _DOUBLE: "d", _RATIONAL: "I"}
_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
_SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_DEFLATE, _HORIZONTAL = 8, 2
_UNASSOCIATED = 2
_XMP, _IPTC, _GDAL, _NODATA = 700, 33723, 42112, 42113
_UNITS = {"": 1, "inch": 2, "cm": 3}
Fields = dict[int, tuple[int, Any]]
"""A directory by tag: type, and values: a list of numbers, or bytes."""


class TiffWriter:
    """Write rows of a gray or RGB image, with or without alpha, to ``file`` as they come.

    BigTIFF if the samples alone could exceed classic TIFF's limit.
    """

    def __init__(self, file: BinaryIO, header: Header, exif: Image.Exif | None):
        self._file, self._header, self._exif = file, header, exif
        row = header.width * header.planes * header.samples.dtype.itemsize
        self._rows = max(1, min(_STRIP // row, header.height))
        self._big = header.height * row > _LARGEST_CLASSIC
        self._waiting: list[np.ndarray] = []
        self._strips: list[tuple[int, int]] = []
        # The directory's offset is written last.
        file.write(b"II+\0\x08\0\0\0" + bytes(8) if self._big else b"II*\0" + bytes(4))

    def write(self, numbers: np.ndarray) -> None:
        """Rows [k, W, planes] of the header's dtype."""
        self._waiting.append(numbers)
        if sum(map(len, self._waiting)) >= self._rows:
            rows = np.concatenate(self._waiting)
            whole = len(rows) // self._rows * self._rows
            for top in range(0, whole, self._rows):
                self._strip(rows[top : top + self._rows])
            self._waiting = [rows[whole:].copy()]

    def close(self) -> None:
        """Write what remains and the directory."""
        rest = np.concatenate(self._waiting)
        if len(rest):
            self._strip(rest)
        at = self._place()
        self._file.write(self._directory(at))
        self._file.seek(8 if self._big else 4)
        self._file.write(struct.pack("<Q" if self._big else "<I", at))

    def _strip(self, rows: np.ndarray) -> None:
        if rows.dtype.kind != "f":
            # Differences to the pixel on the left, modulo the type's range, compress better.
            rows = np.concatenate((rows[:, :1], np.diff(rows, axis=1)), axis=1)
        data = compressed(np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).data)
        self._strips.append((self._place(), len(data)))
        self._file.write(data)

    def _place(self) -> int:
        """The current position, padded to a word boundary as the format requires."""
        at = self._file.tell()
        if at % 2:
            self._file.write(b"\0")
        return at + at % 2

    def _directory(self, at: int) -> bytes:
        header, planes = self._header, self._header.planes
        whole_numbers = header.samples.dtype.kind != "f"
        fields: Fields = {
            256: (_LONG, [header.width]),
            257: (_LONG, [header.height]),
            258: (_SHORT, [header.depth] * planes),
            259: (_SHORT, [_DEFLATE]),
            262: (_SHORT, [2 if not header.gray else 0 if header.samples.white_is_zero else 1]),
            273: (_LONG8 if self._big else _LONG, [offset for offset, _ in self._strips]),
            274: (_SHORT, [1]),
            277: (_SHORT, [planes]),
            278: (_LONG, [self._rows]),
            279: (_LONG8 if self._big else _LONG, [length for _, length in self._strips]),
            284: (_SHORT, [1]),
            317: (_SHORT, [_HORIZONTAL if whole_numbers else 1]),
            339: (_SHORT, [_SAMPLE_FORMATS[header.samples.dtype.kind]] * planes),
        }
        if header.alpha:
            fields[338] = (_SHORT, [_UNASSOCIATED])
        fields |= _of_extras(header)
        if header.geo is not None:
            fields |= {tag: (kind, list(values)) for tag, kind, values in _of_place(header.geo) if values}
            if header.geo.text:
                fields[geo.TEXT] = (_ASCII, header.geo.text.encode() + b"\0")
        if header.icc:
            fields[34675] = (_UNDEFINED, header.icc)
        tags = {} if self._exif is None else dict(self._exif)
        for tag, value in tags.items():
            if tag in fields or tag in (282, 283, 296):
                continue
            if isinstance(value, str):
                fields[tag] = (_ASCII, value.encode() + b"\0")
            elif isinstance(value, bytes):
                fields[tag] = (_BYTE, value)
            elif isinstance(value, int) and 0 <= value < 2**16:
                fields[tag] = (_SHORT, [value])
        groups: dict[int, dict[int, Any]] = {tag: tags[tag] for tag in _SUB_DIRECTORIES if tag in tags}
        return self._packed(fields, groups, at)

    def _packed(self, fields: Fields, groups: Mapping[int, dict[int, Any]], at: int) -> bytes:
        count, entry, pointer, inline = ("<Q", "<HHQ", "<Q", 8) if self._big else ("<H", "<HHI", "<I", 4)
        directory, behind = struct.pack(count, len(fields) + len(groups)), b""
        start = at + len(directory) + (12 + 8 * self._big) * (len(fields) + len(groups)) + inline
        for tag in sorted({*fields, *groups}):
            if tag in groups:
                behind += b"\0" * (len(behind) % 2)
                data = struct.pack(pointer, start + len(behind))
                behind += self._group(tag, groups[tag], start + len(behind))
                directory += struct.pack(entry, tag, _LONG8 if self._big else _LONG, 1) + data
                continue
            kind, values = fields[tag]
            data = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
            directory += struct.pack(entry, tag, kind, len(values) // (2 if kind == _RATIONAL else 1))
            if len(data) <= inline:
                directory += data.ljust(inline, b"\0")
            else:
                behind += b"\0" * (len(behind) % 2)
                directory += struct.pack(pointer, start + len(behind))
                behind += data
        return directory + bytes(inline) + behind

    def _group(self, tag: int, values: dict, at: int) -> bytes:
        head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if self._big else b"II*\0" + struct.pack("<I", 8)
        directory = TiffImagePlugin.ImageFileDirectory_v2(head, group=tag)
        for key, value in values.items():
            directory[key] = value
        return directory.tobytes(at)


def _of_extras(header: Header) -> Fields:
    fields: Fields = {}
    extras, missing = header.extras, header.samples.missing
    if extras.resolution is not None:
        unit = {"m": "cm"}.get(extras.resolution.unit, extras.resolution.unit)
        x, y = extras.resolution.per(unit)
        fields |= {282: (_RATIONAL, _ratio(x)), 283: (_RATIONAL, _ratio(y)), 296: (_SHORT, [_UNITS[unit]])}
    if extras.xmp:
        fields[_XMP] = (_BYTE, xmp_of(extras.xmp, *header.size))
    if extras.iptc:
        fields[_IPTC] = (_UNDEFINED, extras.iptc)
    if extras.gdal:
        fields[_GDAL] = (_ASCII, extras.gdal.encode() + b"\0")
    nodata = extras.nodata or (None if missing is None else str(missing))
    if nodata:
        fields[_NODATA] = (_ASCII, nodata.encode() + b"\0")
    return fields


def _ratio(number: float) -> list[int]:
    near = Fraction(number).limit_denominator(10**6)
    return [min(near.numerator, 2**32 - 1), near.denominator]


def _of_place(place: geo.Georeference) -> list[tuple[int, int, tuple]]:
    return [
        (geo.PIXEL_SCALE, _DOUBLE, place.pixel_scale),
        (geo.TIEPOINTS, _DOUBLE, place.tiepoints),
        (geo.TRANSFORMATION, _DOUBLE, place.transformation),
        (geo.DIRECTORY, _SHORT, place.directory),
        (geo.DOUBLES, _DOUBLE, place.doubles),
    ]
