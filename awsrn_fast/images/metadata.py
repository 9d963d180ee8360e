"""Orientation, colour profile, EXIF and other metadata: which are carried over to the upscaled image, and how."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from .extras import MOST_RESOLUTION, SUBJECT, Resolution
from .picture import Header
from .windows import DECODING

_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
_BASE = ExifTags.Base
LONGEST = 65000
"""Bytes of a JPEG's segment, and the most that its fields count."""
_NAMES = (
    "ProcessingSoftware DocumentName ImageDescription Make Model PageName Software DateTime Artist HostComputer Rating "
    "RatingPercent Copyright XPTitle XPComment XPAuthor XPKeywords XPSubject"
)
_KEPT = {tag for tag in _BASE if tag.name in _NAMES.split()}
# The rest of a main directory describes the file's own layout, or is kept by other means.
_LAYOUT = {*range(254, 260), *range(262, 267), *range(277, 282), *range(288, 294), *range(322, 331), *range(338, 342)}
_LAYOUT |= {*range(512, 522), *range(529, 533), *range(32995, 32999), 273, 274, 284, 297, 317, 320, 347, 37679, 50674}
_ELSEWHERE = {282, 283, 296, 700, 33723, 34675, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}
_ELSEWHERE |= {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}
_UNITS = {1: "", 2: "inch", 3: "cm"}
_TURN = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")


def exif_of(data: bytes | None, xmp: bytes | None = None) -> Image.Exif:
    """EXIF from its bytes; the orientation from XMP where EXIF has none."""
    exif = Image.Exif()
    if data:
        exif.load(data)
    turn = None if xmp is None or _BASE.Orientation in exif else _TURN.search(xmp)
    if turn:
        exif[_BASE.Orientation] = int(turn[1])
    return exif


def upright(exif: Image.Exif | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """The rotation or flip that makes ``[H, W, ...]`` upright; None: it is upright."""
    return None if exif is None else _UPRIGHT.get(exif.get(_BASE.Orientation, 1))


def swaps_sides(exif: Image.Exif | None) -> bool:
    """Whether making it upright swaps rows and columns."""
    return exif is not None and exif.get(_BASE.Orientation, 1) in (5, 6, 7, 8)


def fitting_profile(icc: bytes | None, gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile, or None and a note if it is of another colour space than the pixels and would show wrong colours."""
    space = b"GRAY" if gray else b"RGB "
    if not icc or icc[16:20] == space:
        return icc or None, ()
    name = icc[16:20].decode("ascii", "replace").strip()
    return None, (f"colour profile ({name}) does not fit the pixels and is left out",)


def resolution_of(tags: Mapping[int, Any]) -> Resolution | None:
    """Resolution from EXIF's or TIFF's tags; None: absent or damaged."""
    try:
        x, y = float(tags[_BASE.XResolution]), float(tags[_BASE.YResolution])
        unit = _UNITS[tags.get(_BASE.ResolutionUnit, 2)]
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return Resolution(x, y, unit) if 0 < x < MOST_RESOLUTION and 0 < y < MOST_RESOLUTION else None


def portable_exif(source: Image.Exif | None) -> tuple[Image.Exif | None, tuple[str, ...]]:
    """The part of an image's EXIF that is valid for the upscaled one, and notes on the rest."""
    exif = Image.Exif()
    left: list[str] = []
    if source is None:
        return None, ()
    try:
        for tag in list(source):
            if tag in _KEPT:
                lost: tuple[str, ...]
                value, lost = _fitting(source[tag]) if tag == _BASE.ImageDescription else (source[tag], ())
                left += lost
                if value:
                    exif[tag] = value
            elif tag not in _LAYOUT and tag not in _ELSEWHERE:
                left.append(ExifTags.TAGS.get(tag, f"tag {tag}"))
        for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            values = dict(source.get_ifd(tag))
            # A maker's note points to offsets in the file.
            left += ["MakerNote"] if values.pop(_BASE.MakerNote, None) else []
            if ExifTags.IFD.Interop in values:
                values[ExifTags.IFD.Interop] = dict(source.get_ifd(ExifTags.IFD.Interop))
            if upright(source) is not None:
                left += [name for key, name in SUBJECT.items() if values.pop(key, None)]
            if values:
                exif[tag] = values
        if source.get_ifd(ExifTags.IFD.IFD1):
            left.append("thumbnail")
        size = len(exif.tobytes())
    except DECODING as error:
        return None, (f"EXIF is damaged and left out ({error})",)
    if size > LONGEST:
        return None, (f"EXIF of {size} bytes is too long for JPEG and left out",)
    return (exif if len(exif) else None), ((f"tags left out: {', '.join(left)}",) if left else ())


def _fitting(value: object) -> tuple[object, tuple[str, ...]]:
    """The description without the parts that tifffile, ImageJ and OME readers take the layout of pixels from."""
    if not isinstance(value, str):
        return value, ()
    if value.startswith("ImageJ="):
        return "".join(f"{line}\n" for line in value.splitlines() if line.split("=")[0] in _IMAGEJ), ()
    if value.startswith('{"shape"'):
        with suppress(ValueError):
            if set(json.loads(value)) <= {"shape", "axes"}:
                return "", ()
        return "", ("tifffile's description",)
    return ("", ("OME's description",)) if "<OME " in value[:2000] else (value, ())


_IMAGEJ = ("ImageJ", "unit", "yunit", "min", "max", "cf", "c0", "c1", "vunit")
"""ImageJ's calibration of values and pixels."""


def exif_for(header: Header, format: str) -> Image.Exif | None:
    """EXIF for the output: new size, upright; includes the resolution if the format stores it nowhere else."""
    exif, resolution = Image.Exif(), header.extras.resolution
    exif.update(dict(header.exif or {}))
    if resolution is not None and (len(exif) or format in ("WEBP", "AVIF", "HEIF")):
        exif[_BASE.XResolution], exif[_BASE.YResolution] = resolution.per("inch" if resolution.unit else "")
        exif[_BASE.ResolutionUnit] = 2 if resolution.unit else 1
    if not len(exif):
        return None
    details = dict(exif.get(ExifTags.IFD.Exif, {}))
    for tag, value in ((_BASE.ExifImageWidth, header.width), (_BASE.ExifImageHeight, header.height)):
        if tag in details:
            details[tag] = value
    if details:
        exif[ExifTags.IFD.Exif] = details
    exif[_BASE.Orientation] = 1
    return exif


_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_METADATA = {"colour profile", "EXIF", "resolution", "XMP"}
_KEPT_BY = {
    "PNG": _METADATA | {"comment", "texts"},
    "TIFF": _METADATA | {"IPTC", "georeference", "GDAL metadata", "no-data number"},
    "JPEG": _METADATA | {"IPTC", "comment"},
    "WEBP": _METADATA,
    "AVIF": _METADATA,
    "HEIF": _METADATA,
    "BMP": {"resolution"},
}


def not_kept(header: Header, format: str) -> tuple[str, ...]:
    """A remark that lists metadata which ``format`` cannot store; empty: everything is kept."""
    lost = [what for what in _said(header, format) if what not in _KEPT_BY[format]]
    if format == "JPEG":
        lost += _too_long_for_jpeg(header)
    return (f"{format} keeps no {', no '.join(lost)}",) if lost else ()


def _said(header: Header, format: str) -> Iterator[str]:
    extras = header.extras
    found = {
        "colour profile": header.icc,
        "EXIF": header.exif,
        "georeference": header.geo,
        "XMP": extras.xmp,
        "IPTC": extras.iptc,
        "comment": extras.comment,
        "GDAL metadata": extras.gdal,
        "no-data number": extras.nodata,
    }
    yield from (name for name, value in found.items() if value)
    resolution = extras.resolution
    if resolution is not None and (resolution.unit or resolution.x != resolution.y):
        yield "resolution"
    if any(name in _TEXTS for name, _ in extras.chunks):
        yield "texts"
    names = dict.fromkeys(name.decode("ascii", "replace") for name, _ in extras.chunks if name not in _TEXTS)
    if names and format != "PNG":
        yield ", ".join(names)


def _too_long_for_jpeg(header: Header) -> Iterator[str]:
    extras, resolution = header.extras, header.extras.resolution
    if extras.xmp and len(extras.xmp) > LONGEST:
        yield f"XMP of {len(extras.xmp)} bytes"
    if extras.iptc and len(extras.iptc) > LONGEST:
        yield f"IPTC of {len(extras.iptc)} bytes"
    if extras.comment and len(extras.comment) > LONGEST:
        yield f"comment of {len(extras.comment)} bytes"
    if resolution is not None and not resolution.unit and resolution.x != resolution.y:
        yield "ratio of a pixel's sides"
    elif resolution is not None and resolution.unit and max(resolution.per("inch")) > LONGEST:
        yield "resolution of so many pixels per inch"
