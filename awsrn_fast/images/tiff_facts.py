"""Metadata in a TIFF's directories: GDAL's and GIS programs' tags, masks, other pages."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

import numpy as np

from awsrn_fast.errors import RunError

from .extras import Extras, Resolution
from .geo import DIRECTORY, DOUBLES, PIXEL_SCALE, TEXT, TIEPOINTS, TRANSFORMATION, Georeference, georeference
from .metadata import resolution_of

if TYPE_CHECKING:  # imported where a TIFF is read
    from tifffile import TiffFile, TiffPage

_REDUCED, _MASK = 1, 4
_RAW = (32803, 34892)
"""Photometric interpretations of camera raw data."""
_XMP, _IPTC, _GDAL, _NODATA, _PLANES_OF_STK = 700, 33723, 42112, 42113, 33629
_STATISTICS = re.compile(r"\s*<Item name=\"STATISTICS_[^>]*>[^<]*</Item>")


@dataclass(frozen=True)
class TiffFacts:
    geo: Georeference | None
    extras: Extras
    mask: TiffPage | None
    """tifffile's page of the mask, which ``mask_of`` reads; None: there is none."""
    notes: tuple[str, ...]


def tifffile() -> ModuleType:
    """The package. Raises ModuleNotFoundError."""
    import tifffile

    # Its log messages about damaged files would go to the terminal; errors that matter are raised.
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return tifffile


def pages_of(file: TiffFile) -> Sequence[TiffPage]:
    """The file's pages; tifffile reads each when it is asked for."""
    return cast("Sequence[TiffPage]", file.pages)  # TiffFrame only where useframes is set


def facts_of_file(path: Path, file: TiffFile) -> TiffFacts:
    """Metadata of the image in the first directory.

    Raises:
        RunError: several pictures, or the first is a thumbnail of another.
    """
    page = pages_of(file)[0]
    mask, notes = _of_other_pages(path, file)
    _refuse_stacks(path, file, page)
    _refuse_thumbnails(path, page)
    geo = _georeference(page)
    if geo is None and page.tags.get(PIXEL_SCALE):
        notes += ("georeference is damaged and left out",)
    gdal, cut = _text(page, _GDAL), None
    if gdal and (cut := _STATISTICS.sub("", gdal)) != gdal:
        notes += ("GDAL's statistics of the old numbers are left out",)
    if cut and 'role="scale"' in cut:
        notes += ("GDAL's scale and offset are kept: they hold for the new numbers as for the old",)
    extras = Extras(_resolution(page), _bytes(page, _XMP), _bytes(page, _IPTC), gdal=cut, nodata=_text(page, _NODATA))
    return TiffFacts(geo, extras, mask, notes)


def nodata_number(text: str | None, dtype: np.dtype) -> float | int | None:
    """GDAL's no-data text as a value of ``dtype``; None: not representable."""
    if text is None:
        return None
    number: float
    try:
        number = int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return None
    if dtype.kind == "f":
        if number != number or "inf" in text.lower():
            return float(number)
        limit = float(np.finfo(dtype).max)  # the smallest number's text is often out of range by rounding
        return dtype.type(min(max(float(number), -limit), limit)).item()
    if number != number or number in (np.inf, -np.inf) or number != int(number):
        return None
    limits = np.iinfo(dtype)
    return int(number) if limits.min <= number <= limits.max else None


def mask_of(page: TiffPage) -> np.ndarray:
    """[H, W] bool: visible pixels."""
    return np.asarray(page.asarray()).reshape(*page.shape[:2], -1)[..., 0] != 0


def _of_other_pages(path: Path, file: TiffFile) -> tuple[TiffPage | None, tuple[str, ...]]:
    page = pages_of(file)[0]
    others, mask = [], None
    notes: dict[str, None] = {}
    for other in pages_of(file)[1:]:
        if other.photometric in _RAW:
            raise _raw(path)
        if other.subfiletype & _REDUCED:
            notes["smaller copies in the file are left out"] = None
        elif other.subfiletype & _MASK and other.shape[:2] == page.shape[:2]:
            mask = other
        else:
            others.append(other)
    if others:
        raise RunError(f"{path}: {1 + len(others)} pages; only single images are upscaled, so save them one by one")
    return mask, tuple(notes)


def _refuse_stacks(path: Path, file: TiffFile, page: TiffPage) -> None:
    """Raise RunError for a stack of several planes in one directory."""
    count = page.imagedepth
    if file.is_imagej:
        count = max(count, int((file.imagej_metadata or {}).get("images", 1)))
    if tag := page.tags.get(_PLANES_OF_STK):
        count = max(count, tag.count)
    if page.description.startswith('{"shape"'):
        shape = json.loads(page.description)["shape"]
        count = max(count, int(np.prod(shape, dtype=object)) // max(1, int(np.prod(page.shape, dtype=object))))
    if count > 1:
        raise RunError(f"{path}: a stack of {count} planes; only single images are upscaled, so save them one by one")


def _refuse_thumbnails(path: Path, page: TiffPage) -> None:
    below = cast("list[TiffPage]", list(page.pages or ())) if page.subifds else []
    if page.photometric in _RAW or any(each.photometric in _RAW for each in below):
        raise _raw(path)
    larger = [each for each in below if each.imagelength * each.imagewidth > page.imagelength * page.imagewidth]
    if larger or page.subfiletype & _REDUCED:
        size = f" of {larger[0].imagewidth}x{larger[0].imagelength} pixels in a sub-directory" if larger else ""
        raise RunError(f"{path}: its first picture is a thumbnail of another{size}; save that as a TIFF of its own")


def _raw(path: Path) -> RunError:
    return RunError(
        f"{path}: a camera's raw photograph, of which a TIFF reader sees a thumbnail; develop it and save it as TIFF "
        "or PNG"
    )


def _georeference(page: TiffPage) -> Georeference | None:
    names = (PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, DIRECTORY, DOUBLES, TEXT)
    try:
        return georeference({name: tag.value for name in names if (tag := page.tags.get(name))})
    except TypeError:  # a single number in place of several
        return None


def _resolution(page: TiffPage) -> Resolution | None:
    tags = {code: tag.value for code in (282, 283, 296) if (tag := page.tags.get(code))}
    try:
        return resolution_of({code: v[0] / v[1] if isinstance(v, tuple) else int(v) for code, v in tags.items()})
    except (ValueError, TypeError, ArithmeticError):
        return None


def _text(page: TiffPage, code: int) -> str | None:
    tag = page.tags.get(code)
    return str(tag.value).strip("\0 \n") or None if tag else None


def _bytes(page: TiffPage, code: int) -> bytes | None:
    tag = page.tags.get(code)
    if not tag:
        return None
    value = tag.value
    if isinstance(value, tuple):  # some write IPTC as 32-bit numbers
        return np.array(value, page.parent.byteorder + "u4").tobytes()
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None
