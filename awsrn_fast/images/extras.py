"""Metadata other than profile and EXIF: resolution, XMP, IPTC, texts, colour encoding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import ExifTags, Image

SUBJECT = {0x9214: "SubjectArea", 0xA214: "SubjectLocation"}
"""EXIF tags that hold pixel positions."""
_FIELD, _RATIO = 2**16, 2**31
"""Exclusive upper bound of EXIF's integers and of the terms of its rationals."""
MOST_RESOLUTION = 10**8
"""Largest resolution accepted; a larger value is treated as damage."""
_METRES = {"inch": 0.0254, "cm": 0.01, "m": 1.0}
# XMP properties that depend on the image's size. Values are attributes or elements.
_VALUE = rb"(\s*=\s*[\"']|>)\s*"
_TURN = re.compile(rb"(tiff:Orientation)" + _VALUE + rb"(\d+)")
_WIDTH = re.compile(rb"(tiff:ImageWidth|exif:PixelXDimension)" + _VALUE + rb"(\d+)")
_HEIGHT = re.compile(rb"(tiff:ImageLength|exif:PixelYDimension)" + _VALUE + rb"(\d+)")
_GROWING = re.compile(rb"(tiff:[XY]Resolution|GPano:\w+Pixels)" + _VALUE + rb"(\d+)")
_OTHER_PICTURES = (b"hdrgm:", b"HDRGainMap", b"Container:Directory", b"GImage:", b"GDepth:", b"GCamera:M")


@dataclass(frozen=True)
class Resolution:
    """Pixels per ``unit``: inch, cm, m; empty: the unit is given elsewhere, or only the aspect ratio matters."""

    x: float
    y: float
    unit: str

    def per(self, unit: str) -> tuple[float, float]:
        """Pixels per ``unit``."""
        factor = _METRES[unit] / _METRES[self.unit] if unit != self.unit else 1.0
        return self.x * factor, self.y * factor

    def scaled(self, scale: float) -> Resolution:
        """The resolution after upscaling by ``scale``, such that the printed size is unchanged."""
        return replace(self, x=scale * self.x, y=scale * self.y)

    def turned(self) -> Resolution:
        """The resolution after a rotation by 90 degrees."""
        return replace(self, x=self.y, y=self.x)


@dataclass(frozen=True)
class Extras:
    """Metadata of one file, for the image's original size.

    Attributes:
        xmp: XMP packet.
        iptc: records of IPTC-IIM, as in TIFF's tag 33723.
        comment: a JPEG's comment.
        chunks: PNG's other chunks that stay valid at another size, (name, data): texts, colour encoding (gAMA, cHRM,
            sRGB, cICP, ...).
        gdal: GDAL's metadata (scale and offset of the samples, units) as in TIFF's tag 42112.
        nodata: GDAL's no-data value as text (tag 42113).
    """

    resolution: Resolution | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    gdal: str | None = None
    nodata: str | None = None

    def scaled(self, scale: float) -> Extras:
        """The metadata after upscaling by ``scale``."""
        resolution = None if self.resolution is None else self.resolution.scaled(scale)
        return replace(self, resolution=resolution, xmp=self.xmp and _GROWING.sub(_times(scale), self.xmp))


def scaled_exif(exif: Image.Exif, scale: float) -> Image.Exif:
    """EXIF with its pixel quantities scaled: the focal plane's resolution, the subject's position."""
    details = dict(exif.get(ExifTags.IFD.Exif, {}))
    grown: dict[int, object] = {}
    for tag in (ExifTags.Base.FocalPlaneXResolution, ExifTags.Base.FocalPlaneYResolution, *SUBJECT):
        try:
            value = details.pop(tag)
            numbers = [scale * float(n) for n in value] if tag in SUBJECT else [scale * float(value)]
        except (KeyError, TypeError, ValueError, ArithmeticError):  # absent or meaningless
            continue
        if all(0 <= number < (_FIELD if tag in SUBJECT else _RATIO) for number in numbers):
            grown[tag] = tuple(map(round, numbers)) if tag in SUBJECT else numbers[0]
    if details == dict(exif.get(ExifTags.IFD.Exif, {})):
        return exif
    larger = Image.Exif()
    larger.update(dict(exif))
    larger[ExifTags.IFD.Exif] = details | grown
    return larger


def xmp_of(xmp: bytes, height: int, width: int, orientation: int = 1) -> bytes:
    """XMP for an image of that size, upright unless another EXIF orientation is given."""
    for pattern, value in ((_TURN, orientation), (_WIDTH, width), (_HEIGHT, height)):
        xmp = pattern.sub(rb"\g<1>\g<2>" + str(value).encode(), xmp)
    return xmp


def tells_of_other_pictures(xmp: bytes) -> bool:
    """Whether XMP describes further content of the file: a gain map, a depth map, a video."""
    return any(name in xmp for name in _OTHER_PICTURES)


def _times(scale: float) -> Callable[[re.Match[bytes]], bytes]:
    return lambda m: m[1] + m[2] + str(round(scale * int(m[3]))).encode()
