"""The image in memory, its header, and the supported file formats."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from PIL import Image, features

from .extras import Extras, scaled_exif
from .geo import Georeference

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".jif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".dib": "BMP",
}
"""Formats by file suffix (in lower case), as far as the libraries here read and write them."""
if "avif" in features.modules and features.check("avif"):  # from Pillow 11.3 on
    FORMATS[".avif"] = "AVIF"
with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()
    FORMATS |= {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}


@dataclass(frozen=True)
class Samples:
    """Mapping of a file's samples to [0, 1]: ``low`` is 0, ``high`` is 1.

    8 and 16-bit images use their whole range. Measurements (single-channel 16-bit TIFF, signed and floating ones) use
    the range that their data have, which is kept. Where some are ``missing``, values have one plane more, as alpha
    would be: 1 where there are data. So what is missing is filled from around for the network, and cut out again.
    """

    dtype: np.dtype
    low: float
    high: float
    missing: float | None = None
    """The number that means no data, NaN included; None: there is data everywhere."""
    avoided: float | None = None
    """The number that would mean no data, so that no value may become it."""
    white_is_zero: bool = False
    """Whether the file shows the smallest number as white; the numbers stay."""

    @property
    def depth(self) -> int:
        """Bits per sample."""
        return 8 * self.dtype.itemsize

    @property
    def natural(self) -> bool:
        """8 or 16 bits without sign, of which 0 is black and the largest is white."""
        return replace(self, avoided=None) in (BYTES, WORDS)

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """A file's samples ``[..., planes]`` as float32 in [0, 1]; all 0 where the range is a single number."""
        if self.missing is not None:
            there = is_there(values, self.missing).all(axis=-1, keepdims=True)
            known = replace(self, missing=None).to_unit(np.where(there, values, self.dtype.type(self.low)))
            return np.concatenate((known, there.astype(np.float32)), axis=-1)
        if self.natural:
            unit = values.astype(np.float32)
            unit /= np.float32(self.high)
            return unit
        # In double precision: in single precision a narrow range far from 0 would lose its digits.
        exact = values.astype(np.float64)
        exact -= self.low
        exact /= (self.high - self.low) or 1
        return exact.astype(np.float32)

    def from_unit(self, values: np.ndarray) -> np.ndarray:
        """Values, clipped to [0, 1], as samples for a file; rounded once if they are integers."""
        if self.missing is not None or self.avoided is not None:
            plain = replace(self, missing=None, avoided=None)
            numbers = plain.from_unit(values if self.missing is None else values[..., :-1])
            for number in {self.missing, self.avoided}:
                if number is not None:
                    numbers[numbers == number] = self._beside(number)
            if self.missing is None:
                return numbers
            return np.where(values[..., -1:] < 0.5, self.dtype.type(self.missing), numbers)
        values = np.clip(values, 0, 1)
        if self.natural:
            return np.rint(values * np.float32(self.high)).astype(self.dtype)
        numbers = np.clip(self.low + values.astype(np.float64) * (self.high - self.low), self.low, self.high)
        return (np.rint(numbers) if self.dtype.kind in "iu" else numbers).astype(self.dtype)

    def _beside(self, number: float) -> float:
        """The adjacent representable value."""
        if self.dtype.kind == "f":
            return np.nextafter(self.dtype.type(number), self.dtype.type(0 if number else 1))
        return number - 1 if number == np.iinfo(self.dtype).max else number + 1


def is_there(values: np.ndarray, missing: float | None) -> np.ndarray:
    """Mask of samples that are finite and not the no-data value."""
    there = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if missing is None:
        return there
    if values.dtype.kind == "f" and abs(missing) > _HUGE:
        # Programs write no-data values with different precision; none is a measurement.
        bound = values.dtype.type(abs(missing) * (1 - 1e-5))
        return there & (values < bound if missing > 0 else values > -bound)
    return there & (values != missing)


_HUGE = 1e37
BYTES = Samples(np.dtype(np.uint8), 0, 255)
WORDS = Samples(np.dtype(np.uint16), 0, 65535)


@dataclass(frozen=True, eq=False, kw_only=True)
class About:
    """Properties that do not change when an image is upscaled."""

    samples: Samples = BYTES
    icc: bytes | None = None
    geo: Georeference | None = None
    """GeoTIFF's tags, for the image's original size."""
    exif: Image.Exif | None = None
    """Without the orientation, which is applied on reading."""
    extras: Extras = field(default_factory=Extras)
    """For the image's own size."""
    format: str = "PNG"
    """Pillow's name of the file's format."""
    lossless: bool = False
    """Whether a WebP file is lossless."""
    quality: int | None = None
    """A JPEG's approximate encoder quality, from its quantisation tables."""
    notes: tuple[str, ...] = ()
    """Notes for the user on what could not be preserved."""

    @property
    def depth(self) -> int:
        """Bits per sample in the file."""
        return self.samples.depth

    def about(self) -> dict[str, Any]:
        """These fields, to make another header or picture of."""
        return {each.name: getattr(self, each.name) for each in fields(About)}


@dataclass(frozen=True, eq=False)
class Header(About):
    """Header of one upright image: everything but its pixels."""

    height: int
    width: int
    gray: bool = False
    alpha: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def planes(self) -> int:
        """1 gray or 3 RGB, and one more for alpha, which is last."""
        return (1 if self.gray else 3) + self.alpha

    def scaled(self, scale: int) -> Header:
        """The header of the image that is ``scale`` times as large."""
        return self.sized(scale * self.height, scale * self.width)

    def sized(self, height: int, width: int) -> Header:
        """The header of this image with another number of pixels."""
        across, down = width / self.width, height / self.height
        scale = across if across == down else (across * down) ** 0.5
        geo = None if self.geo is None else self.geo.scaled(across, down)
        exif = None if self.exif is None else scaled_exif(self.exif, scale)
        about = self.about() | {"geo": geo, "exif": exif, "extras": self.extras.scaled(scale)}
        return Header(height, width, self.gray, self.alpha, **about)


@dataclass(frozen=True, eq=False)
class Picture(About):
    """One upright image with its pixels."""

    color: np.ndarray
    """float32 [H, W, 3] RGB or [H, W, 1] gray, in [0, 1], not premultiplied."""
    alpha: np.ndarray | None = None
    """float32 [H, W] in [0, 1], or None for an opaque image."""

    @property
    def gray(self) -> bool:
        return self.color.shape[2] == 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.color.shape[0], self.color.shape[1]

    @property
    def header(self) -> Header:
        return Header(*self.size, self.gray, self.alpha is not None, **self.about())

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Rows as float32 [bottom - top, W, planes], alpha last."""
        color = self.color[top:bottom]
        return color if self.alpha is None else np.concatenate((color, self.alpha[top:bottom, :, None]), axis=2)
