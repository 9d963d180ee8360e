"""Image files to pictures: every kind that would lose depth or frames is refused, every conversion noted."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import png
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from awsrn_fast.errors import RunError

from .picture import FORMATS, Picture

MAX_PIXELS = 10**9

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
# The rest of the main directory describes the old file's own layout, and a MakerNote points to offsets in it.
_LARGEST_EXIF = 65000
_EXIF_KEPT = (_BASE.ImageDescription, _BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime, _BASE.Artist,
              _BASE.Copyright)  # fmt: skip
# Decoders raise any of these on damaged data.
_DECODING = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error,
             zlib.error, png.Error, Image.DecompressionBombError)  # fmt: skip


def pixels(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> int:
    """Height times width from the header alone. Raises RunError like ``read``."""
    with _opened(Path(path), max_pixels) as image:
        return image.width * image.height


def read(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one image; the contents decide the format, not the suffix.

    Raises:
        RunError: not readable, damaged, animated, more than ``max_pixels`` or of a kind that would lose depth; one
            line that names the file.
    """
    path = Path(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with _opened(path, max_pixels) as image:
            _refuse_what_would_lose(path, image)
            image.load()
            format = image.format
            exif = image.getexif()
            upright = _UPRIGHT.get(exif.get(_BASE.Orientation, 1), lambda a: a)
            picture = _sixteen_bit(path, image) if _is_sixteen_bit(path, image) else _eight_bit(image)
    notes = picture.notes + tuple(str(warning.message) for warning in caught)
    icc, icc_notes = _fitting_profile(picture)
    kept_exif, exif_notes = _portable_exif(exif)
    return replace(
        picture,
        color=upright(picture.color),
        alpha=None if picture.alpha is None else upright(picture.alpha),
        icc=icc,
        exif=kept_exif,
        format="JPEG" if format == "MPO" else format,
        notes=notes + icc_notes + exif_notes,
    )


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    limit = Image.MAX_IMAGE_PIXELS
    # Checked below from the header; Pillow's own limit warns at half of where it raises.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            if image.width * image.height > max_pixels:
                raise RunError(
                    f"{path}: {image.width}x{image.height} is more than {max_pixels} pixels (--max-pixels); "
                    "not decoded, since such a header may be an attack"
                )
            yield image
    except RunError:
        raise
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        what = "the file is empty" if empty else "not an image of a known format (PNG, JPEG, WebP, TIFF, BMP)"
        raise RunError(f"{path}: {what}") from error
    except _DECODING as error:
        reason = getattr(error, "strerror", None) or f"damaged or not supported ({error})"
        raise RunError(f"{path}: {reason}") from error
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
            raise RunError(f"{path}: TIFF with {len(bits)} {kind}samples of {max(bits)} bits; save it as 16-bit PNG")
    if image.mode in ("F", "I", "LAB"):
        raise RunError(f"{path}: images of Pillow's mode {image.mode} are not supported; save it as 16-bit PNG")


def _is_sixteen_bit(path: Path, image: Image.Image) -> bool:
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24] == 16  # the depth in IHDR, which Pillow does not tell
    return image.mode.startswith("I;16")


def _sixteen_bit(path: Path, image: Image.Image) -> Picture:
    if image.format == "PNG":
        with open(path, "rb") as file:
            width, height, rows, info = png.Reader(file=file).asDirect()
            samples = np.empty((height, width * info["planes"]), np.uint16)
            for index, row in enumerate(rows):
                samples[index] = row
        samples = samples.reshape(height, width, info["planes"])
    else:
        samples = np.asarray(image).astype(np.uint16)[..., None]
        if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            samples = 65535 - samples
    return _picture(samples, 16, image.info.get("icc_profile"), ())


def _eight_bit(image: Image.Image) -> Picture:
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
        image = image if image.mode == target else image.convert(target)
    samples = np.asarray(image)
    return _picture(samples if samples.ndim == 3 else samples[..., None], 8, icc, tuple(notes))


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


def _picture(samples: np.ndarray, depth: int, icc: bytes | None, notes: tuple) -> Picture:
    values = samples.astype(np.float32) / np.float32(2**depth - 1)
    has_alpha = values.shape[2] in (2, 4)
    color, alpha = (values[..., :-1], values[..., -1]) if has_alpha else (values, None)
    return Picture(color, alpha, depth, icc, notes=notes)


def _fitting_profile(picture: Picture) -> tuple[bytes | None, tuple[str, ...]]:
    """A profile of another colour space than the pixels' would show wrong colours: left out, with a note."""
    space = b"GRAY" if picture.gray else b"RGB "
    if not picture.icc or picture.icc[16:20] == space:
        return picture.icc or None, ()
    name = picture.icc[16:20].decode("ascii", "replace").strip()
    return None, (f"colour profile ({name}) does not fit the pixels and is left out",)


def _portable_exif(source: Image.Exif) -> tuple[Image.Exif | None, tuple[str, ...]]:
    exif = Image.Exif()
    try:
        for tag in _EXIF_KEPT:
            if tag in source:
                exif[tag] = source[tag]
        for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            values = {key: value for key, value in source.get_ifd(tag).items() if key != _BASE.MakerNote}
            if values:
                exif[tag] = values
        size = len(exif.tobytes())
    except _DECODING as error:
        return None, (f"EXIF is damaged and left out ({error})",)
    if size > _LARGEST_EXIF:
        return None, (f"EXIF of {size} bytes is too long for JPEG and left out",)
    return (exif if len(exif) else None), ()
