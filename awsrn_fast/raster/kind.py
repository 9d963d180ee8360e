"""Recognition of rasters, without a library."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

_SAMPLES, _PHOTOMETRIC = 277, 262
_GEO = {33550, 33922, 34264, 34735, 42112, 42113, 50844}
"""Tags of GeoTIFF, GDAL's metadata and no-data number, and RPC."""
_BESIDE = (".msk", ".ovr")
_BEGINNINGS = (
    (b"EHFA_HEADER_TAG", "HFA"),
    (b"\0\0\0\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
)
_PALETTE = 3
_MOST_OF_PICTURES = 4
_SHORT, _LONG = 3, 4
_MOST_TAGS = 1000


def is_raster(path: Path) -> bool:
    """Whether a file is a raster rather than a picture: a TIFF with GDAL's tags or more than four bands, and what only
    GDAL reads (VRT, JPEG 2000, Erdas). TIFF and JPEG 2000 only where rasterio is installed; without it a TIFF is read
    as an image. Classes (palettes) are pictures; masks and overviews beside a TIFF belong to it.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        driver = driver_of(head)
        if driver is None or path.suffix.lower() in _BESIDE:
            return False
        if driver in ("VRT", "HFA"):
            return True
        if find_spec("rasterio") is None:
            return False
        tags = _tags(file, head) if driver == "GTiff" else {_SAMPLES: _MOST_OF_PICTURES + 1}
    if tags.get(_PHOTOMETRIC) == _PALETTE:
        return False
    return bool(_GEO & set(tags)) or tags.get(_SAMPLES, 1) > _MOST_OF_PICTURES


def driver_of(head: bytes) -> str | None:
    """Name of the GDAL driver for a file that begins with ``head``; None: of none that is used here."""
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<VRTDataset"):
        return "VRT"
    return next((driver for beginning, driver in _BEGINNINGS if head.startswith(beginning)), None)


def _tags(file: BinaryIO, head: bytes) -> dict[int, int]:
    """The first directory's tags, and the values of those that are small whole numbers."""
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    offset, number, size = ("Q", "Q", 20) if big else ("L", "H", 12)
    found = {}
    try:
        file.seek(struct.unpack_from(order + offset, head, 8 if big else 4)[0])
        count = struct.unpack(order + number, file.read(struct.calcsize(number)))[0]
        entries = file.read(size * min(count, _MOST_TAGS))
        for at in range(0, len(entries) // size * size, size):
            tag, kind = struct.unpack_from(order + "HH", entries, at)
            value = at + (12 if big else 8)
            found[tag] = struct.unpack_from(order + ("H" if kind == _SHORT else "L"), entries, value)[0]
    except (struct.error, OverflowError):  # damaged: its reader says so
        pass
    return found
