"""Metadata in the segments of a JPEG."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import JpegImagePlugin

from .extras import Extras, Resolution, tells_of_other_pictures
from .metadata import resolution_of

# Tables K.1 and K.2 of the JPEG standard, which the IJG's quality scales; below, their sums at each quality.
_TABLE_K1 = """
     16  11  10  16  24  40  51  61
     12  12  14  19  26  58  60  55
     14  13  16  24  40  57  69  56
     14  17  22  29  51  87  80  62
     18  22  37  56  68 109 103  77
     24  35  55  64  81 104 113  92
     49  64  78  87 103 121 120 101
     72  92  95  98 112 100 103  99
"""
_LUMINANCE = [int(number) for number in _TABLE_K1.split()]
_SMALL = (17, 18, 24, 47, 18, 21, 26, 66, 24, 26, 56, 47, 66)
_CHROMINANCE = (*_SMALL, *(99,) * (64 - len(_SMALL)))
_IPTC, _DIGEST = 0x0404, 0x0425
_GAIN_MAP = b"urn:iso:std:iso:ts:21496"


def quality_of(tables: Mapping[int, Sequence[int]]) -> int | None:
    """The IJG quality, 1 to 100, with the nearest quantisation tables; None: there are no tables."""
    if not tables:
        return None
    sums = [sum(tables[index]) for index in sorted(tables)][:2]
    return min(range(100, 0, -1), key=lambda q: sum(abs(a - b) for a, b in zip(sums, _sums(q), strict=False)))


def _sums(quality: int) -> list[int]:
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = ([min(max((n * percent + 50) // 100, 1), 255) for n in t] for t in (_LUMINANCE, _CHROMINANCE))
    return [sum(table) for table in scaled]


def extras_of(path: Path, image: JpegImagePlugin.JpegImageFile) -> tuple[Extras, tuple[str, ...]]:
    """Metadata that is carried over to the upscaled image, and notes on what is not."""
    xmp = image.info.get("xmp")
    notes: dict[str, None] = {}
    others: dict[str, None] = {}
    gain_map = b"hdrgm:" in (xmp or b"")
    for name, data in image.applist:
        if name == "APP1" and data.startswith(b"http://ns.adobe.com/xmp/extension/"):
            notes["second part of XMP is left out"] = None
        elif name == "APP2" and data.startswith(_GAIN_MAP):
            gain_map = True
        elif name == "APP2" and not data.startswith((b"ICC_PROFILE\0", b"MPF\0")):
            others["APP2"] = None
        elif name not in ("APP0", "APP1", "APP2", "APP13", "APP14", "COM"):
            others[name] = None
    photoshop = image.info.get("photoshop") or {}
    iptc = photoshop.get(_IPTC)
    if set(photoshop) - {_IPTC, _DIGEST}:
        notes["Photoshop's own data is left out"] = None
    if xmp and tells_of_other_pictures(xmp):
        notes["XMP that describes other pictures in the file is left out"] = None
        xmp = None
    if gain_map:
        notes["HDR gain map is left out: the result is the standard picture"] = None
    if others:
        notes[f"{', '.join(others)} left out"] = None
    if image.format == "JPEG" and not gain_map and _goes_on(path):
        notes["what follows the picture in the file is left out"] = None
    comment = image.info.get("comment")
    resolution = _resolution(image)
    return Extras(resolution, xmp, iptc if isinstance(iptc, bytes) else None, comment), tuple(notes)


def _resolution(image: JpegImagePlugin.JpegImageFile) -> Resolution | None:
    density, unit = image.info.get("jfif_density"), image.info.get("jfif_unit")
    if density and all(density) and unit in (0, 1, 2):
        across, down = density
        found = Resolution(across, down, ("", "inch", "cm")[unit])
        if found.unit or across != down:
            return found
    return resolution_of(dict(image.getexif()))


def _goes_on(path: Path) -> bool:
    """Whether data follow the last end-of-image marker: a video, a maker's own data."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.rfind(b"\xff\xd9")
        return at >= 0 and bool(data[at + 2 :].strip(b"\0\r\n "))


def iptc_segment(iptc: bytes) -> bytes:
    """APP13 segment with IPTC-IIM records as Photoshop's resource 0x0404."""
    data = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    return b"\xff\xed" + (2 + len(data)).to_bytes(2, "big") + data
