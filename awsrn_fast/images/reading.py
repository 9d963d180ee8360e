"""Image files to headers and pixels: every kind that would lose depth or frames is refused, every conversion noted."""

from __future__ import annotations

import io
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import png
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from awsrn_fast.errors import RunError

from . import png_rows, tiff_windows
from .metadata import fitting_profile, portable_exif, upright
from .picture import BYTES, FORMATS, WORDS, Header, Picture
from .windows import Decoded, Reader, check_memory, check_size, plainly

MAX_PIXELS = 10**9
_PILLOWS_LIMIT = Lock()
_OTHER_TIFF = "this kind of TIFF is read by the extra: pip install 'awsrn_fast[tiff]'"
_AS_PARTS = "save it as PNG (not interlaced) or as TIFF in strips or tiles, which are read part by part"


def pixels(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> int:
    """Height times width from the header alone. Raises RunError like ``reader``."""
    path = Path(path)
    _check_file(path)
    with plainly(path):
        if tiff_windows.installed() and tiff_windows.is_tiff(path):
            return tiff_windows.pixels(path, max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damage; ``reader`` tells of it
        with _opened(path, max_pixels) as image:
            return image.width * image.height


def format_inside(path: str | os.PathLike) -> str:
    """A value of FORMATS, by the contents. Raises RunError like ``reader``."""
    path = Path(path)
    _check_file(path)
    with plainly(path):
        if tiff_windows.is_tiff(path):
            return "TIFF"
    with _opened(path, sys.maxsize) as image:
        return _known(image.format)


def read(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one whole image; the rest as in ``reader``."""
    with reader(path, max_pixels) as image:
        return image.picture()


def reader(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, memory_limit: int | None = None) -> Reader:
    """Open one image to read windows of it; the contents decide the format, not the suffix.

    PNG and TIFF come in parts; what cannot (JPEG, WebP, BMP, palettes, interlaced PNG, turned images) is decoded whole,
    if it is predicted to fit ``memory_limit`` bytes.

    Raises:
        RunError: not readable, damaged, animated, more than ``max_pixels`` or than ``memory_limit`` allows, or of a
            kind that would lose depth; one line that names the file.
    """
    path = Path(path)
    _check_file(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _windows_of_tiff(path, max_pixels, memory_limit) or _by_pillow(path, max_pixels, memory_limit)
    notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    found.header = replace(found.header, notes=found.header.notes + notes)
    return found


def _check_file(path: Path) -> None:
    with plainly(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        # A named pipe would be waited for, without end.
        raise RunError(f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'a device, pipe or socket'}, not a file")


def _windows_of_tiff(path: Path, max_pixels: int, memory_limit: int | None) -> Reader | None:
    with plainly(path):
        if not (tiff_windows.installed() and tiff_windows.is_tiff(path)):
            return None
    found = tiff_windows.open_windows(path, max_pixels)
    if found is None:
        return None
    try:
        with plainly(path), open(path, "rb") as file:
            exif = tiff_windows.exif_of(file)
            found.header = _with_metadata(found.header, found.icc, exif)
        turn = upright(exif)
        check_memory(path, found.resident if turn is None else 2 * found.whole, memory_limit, _AS_PARTS)
        if turn is None:
            return found
        with plainly(path), found:
            return _turned(found.header, found.numbers(0, found.header.height, 0, found.header.width), turn)
    except BaseException:
        found.close()
        raise


def _by_pillow(path: Path, max_pixels: int, memory_limit: int | None) -> Reader:
    with _opened(path, max_pixels) as image:
        _refuse_what_would_lose(path, image)
        if image.format == "PNG":
            facts = png_rows.facts(path)
            if facts.late_exif:
                image.info.setdefault("exif", facts.late_exif)
            # Not image.getexif(), which decodes the image to look behind it.
            exif = Image.Image.getexif(image)
            if facts.in_rows and upright(exif) is None:
                header = Header(image.height, image.width, facts.gray, facts.alpha, samples=facts.samples)
                return png_rows.PngRows(path, _with_metadata(header, image.info.get("icc_profile"), exif), facts)
            sixteen = facts.samples == WORDS
        else:
            exif, sixteen = image.getexif(), image.mode.startswith("I;16")
        # Pillow's own copy and ours.
        check_memory(path, 8 * (1 + sixteen) * image.width * image.height, memory_limit, _AS_PARTS)
        image.load()
        numbers, icc, notes = _sixteen_bit(path, image) if sixteen else _eight_bit(image)
        height, width, planes = numbers.shape
        header = Header(height, width, planes < 3, planes in (2, 4), samples=WORDS if sixteen else BYTES,
                        format=_known(image.format), notes=notes)  # fmt: skip
        return _turned(_with_metadata(header, icc, exif), numbers, upright(exif))


def _known(format: str) -> str:
    return "JPEG" if format == "MPO" else format


def _with_metadata(header: Header, icc: bytes | None, exif: Image.Exif | None) -> Header:
    icc, about_icc = fitting_profile(icc, header.gray)
    kept, about_exif = portable_exif(exif)
    return replace(header, icc=icc, exif=kept, notes=header.notes + about_icc + about_exif)


def _turned(header: Header, numbers: np.ndarray, turn: Callable[[np.ndarray], np.ndarray] | None) -> Decoded:
    if turn is not None:
        numbers = turn(numbers)
        if header.geo is not None:
            header = replace(header, geo=None, notes=(*header.notes, "georeference of a turned image is left out"))
    return Decoded(replace(header, height=numbers.shape[0], width=numbers.shape[1]), numbers)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    with plainly(path):
        try:
            image = _without_limit(path)
        except UnidentifiedImageError as error:
            if not tiff_windows.is_tiff(path):
                raise
            reason = "damaged, or a kind of TIFF that is not supported"
            raise RunError(f"{path}: {reason if tiff_windows.installed() else _OTHER_TIFF}") from error
        with image:
            check_size(path, image.height, image.width, max_pixels)
            yield image


def _without_limit(path: Path) -> Image.Image:
    """Header only. Pillow's own limit on pixels warns at half of where it raises; ours is checked from the header."""
    with _PILLOWS_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=sorted(set(FORMATS.values())))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _refuse_what_would_lose(path: Path, image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        kind = "pages" if image.format == "TIFF" else "animated frames"
        raise RunError(f"{path}: {frames} {kind}; only single images are upscaled, so save them one by one")
    if image.format == "TIFF":
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        unsigned = set(image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) == {1}
        if max(bits) > 8 and not (tuple(bits) == (16,) and unsigned):
            kind = "" if unsigned else "signed or floating "
            what = f"TIFF with {len(bits)} {kind}samples of {max(bits)} bits"
            if tiff_windows.installed():
                raise RunError(f"{path}: {what} is not supported; save it as 16-bit PNG")
            raise RunError(f"{path}: {what}; {_OTHER_TIFF}")
    if image.mode == "LAB" or (image.mode in ("F", "I") and image.format != "PNG"):
        raise RunError(f"{path}: images of Pillow's mode {image.mode} are not supported; save it as 16-bit PNG")


def _sixteen_bit(path: Path, image: Image.Image) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    notes = ()
    if image.format == "PNG":
        with open(path, "rb") as file:
            width, height, rows, info = png.Reader(file=file).asDirect()
            numbers = np.empty((height, width * info["planes"]), np.uint16)
            for index, row in enumerate(rows):
                numbers[index] = row
        numbers = numbers.reshape(height, width, info["planes"])
    else:
        numbers = np.asarray(image).astype(np.uint16)[..., None]
        if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            numbers, notes = 65535 - numbers, (tiff_windows.INVERTED,)
    return numbers, image.info.get("icc_profile"), notes


def _eight_bit(image: Image.Image) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    icc, notes = image.info.get("icc_profile"), []
    if image.format == "MPO":
        notes.append("only the first of several pictures in the file is used")
    if image.mode == "CMYK":
        image, icc, note = _rgb_from_cmyk(image, icc)
        notes.append(note)
    else:
        target = _target_mode(image)
        if image.mode in ("1", "P", "PA"):
            name = "1 bit" if image.mode == "1" else "palette"
            notes.append(f"{name} converted to {target}")
        elif image.mode == "RGBX":
            notes.append("band 4, of which the file does not say what it is, is left out")
        image = image if image.mode == target else image.convert(target)
    numbers = np.asarray(image)
    return (numbers if numbers.ndim == 3 else numbers[..., None]), icc, tuple(notes)


def _target_mode(image: Image.Image) -> str:
    alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    gray = image.mode in ("1", "L", "LA", "La")
    return ("L" if gray else "RGB") + ("A" if alpha else "")


def _rgb_from_cmyk(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None, str]:
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted, None, "CMYK converted to sRGB through its profile"
        except (ImageCms.PyCMSError, OSError) as error:
            return image.convert("RGB"), None, f"CMYK converted to RGB; its profile is not usable ({error})"
    return image.convert("RGB"), None, "CMYK without a profile converted to RGB by plain arithmetic"
