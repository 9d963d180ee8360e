"""Reading of headers and pixels: files that would lose depth or frames are refused, every conversion is noted."""

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
from typing import cast

import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from awsrn_fast.errors import RunError

from . import deep, jpeg, kinds, png_chunks, png_rows, png_whole, tiff_windows
from .extras import Extras, tells_of_other_pictures
from .metadata import exif_of, fitting_profile, portable_exif, resolution_of, swaps_sides, upright
from .picture import BYTES, FORMATS, WORDS, About, Header, Picture
from .windows import Decoded, Reader, check_memory, check_size, plainly

MAX_PIXELS = 10**9
_PILLOWS_LIMIT = Lock()
_AS_PARTS = "save it as PNG (not interlaced) or as TIFF in strips or tiles, which are read part by part"


def pixels(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> int:
    """Height times width from the header alone. Raises RunError like ``reader``."""
    path = Path(path)
    _check_file(path)
    with plainly(path):
        if png_chunks.is_png(path):
            facts = png_chunks.facts(path)
            check_size(path, facts.height, facts.width, max_pixels)
            return facts.height * facts.width
        if tiff_windows.is_tiff(path):
            return tiff_windows.pixels(path, max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damage; ``reader`` reports it
        with _opened(path, max_pixels) as image:
            return image.width * image.height


def format_inside(path: str | os.PathLike) -> str:
    """A value of FORMATS, by the contents. Raises RunError like ``reader``."""
    path = Path(path)
    _check_file(path)
    with plainly(path):
        if tiff_windows.is_tiff(path):
            return "TIFF"
        if png_chunks.is_png(path):
            return "PNG"
    with _opened(path, sys.maxsize) as image:
        return _known(image.format)


def read(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one whole image; the rest as in ``reader``."""
    with reader(path, max_pixels) as image:
        return image.picture()


def reader(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, memory_limit: int | None = None) -> Reader:
    """Open one image for reading in windows; the format is detected from the contents, not the suffix.

    PNG and TIFF are read in parts; other kinds (JPEG, WebP, BMP, AVIF, palettes, interlaced PNG, rotated images) are
    decoded whole, if they are predicted to fit ``memory_limit`` bytes.

    Raises:
        RunError: not readable, damaged, animated, more than ``max_pixels`` or than ``memory_limit`` allows, or of a
            kind that would lose depth; one line that names the file.
    """
    path = Path(path)
    _check_file(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = (
            _png(path, max_pixels, memory_limit)
            or _windows_of_tiff(path, max_pixels, memory_limit)
            or _by_pillow(path, max_pixels, memory_limit)
        )
    notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    found.header = replace(found.header, notes=found.header.notes + notes)
    return found


def _check_file(path: Path) -> None:
    with plainly(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        # Opening a named pipe would block for ever.
        raise RunError(f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'a device, pipe or socket'}, not a file")


def _png(path: Path, max_pixels: int, memory_limit: int | None) -> Reader | None:
    with plainly(path):
        if not png_chunks.is_png(path):
            return None
        facts = png_chunks.facts(path)
        check_size(path, facts.height, facts.width, max_pixels)
        if facts.frames > 1:
            raise _several(path, facts.frames, "animated frames")
        about = About(samples=facts.samples, extras=facts.extras, notes=facts.notes).about()
        header = Header(facts.height, facts.width, facts.gray, facts.alpha, **about)
        header, exif = _with_exif(header, facts.icc, facts.exif)
        if facts.in_rows and upright(exif) is None:
            return png_rows.PngRows(path, header, facts.parts)
        size = 8 * (1 + (facts.depth == 16)) * facts.width * facts.height
        check_memory(path, size + sum(length for _, length in facts.parts), memory_limit, _AS_PARTS)
        numbers = png_whole.decode(path, facts)
        if facts.depth == 1 or facts.kind == png_chunks.PALETTE:
            name = "palette" if facts.kind == png_chunks.PALETTE else "1 bit"
            header = replace(header, notes=(f"{name} converted to {_MODES[header.planes]}", *header.notes))
        return _turned(header, numbers, exif)


_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def _windows_of_tiff(path: Path, max_pixels: int, memory_limit: int | None) -> Reader | None:
    with plainly(path):
        if not tiff_windows.is_tiff(path):
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
            return _turned(found.header, found.whole_numbers(), exif)
    except BaseException:
        found.close()
        raise


def _by_pillow(path: Path, max_pixels: int, memory_limit: int | None) -> Reader:
    with _opened(path, max_pixels) as image:
        _refuse_what_would_lose(path, image)
        boxes = kinds.boxes_of(path) if image.format in ("AVIF", "HEIF") else None
        deeper = boxes.bits if boxes is not None and boxes.bits > 8 else None
        sixteen = deeper is not None
        # Pillow's own copy and ours.
        check_memory(path, 8 * (1 + sixteen) * image.width * image.height, memory_limit, _AS_PARTS)
        facts, mask = tiff_windows.facts_of(path) if image.format == "TIFF" else (None, None)
        exif = image.getexif()
        extras, notes = _extras_of(path, image, boxes)
        image.load()
        numbers, icc, more = _eight_bit(image) if deeper is None else deep.decode(path, image, deeper)
        if mask is not None and numbers.shape[2] in (1, 3):
            numbers = np.concatenate((numbers, mask[..., None] * np.uint8(255)), axis=-1)
            more += (tiff_windows.MASKED,)
        height, width, planes = numbers.shape
        samples, format = WORDS if sixteen else BYTES, _known(image.format)
        about = About(samples=samples, format=format, extras=extras, notes=more + notes).about()
        header = Header(height, width, planes < 3, planes in (2, 4), **about)
        if image.format == "BMP":
            icc = kinds.profile_of_bmp(path)
        elif image.format == "WEBP":
            header = replace(header, lossless=kinds.is_lossless_webp(path))
        elif header.format == "JPEG":
            header = replace(header, quality=jpeg.quality_of(_as_jpeg(image).quantization))
        if facts is not None:
            header = replace(header, geo=facts.geo, extras=facts.extras, notes=header.notes + facts.notes)
            if facts.extras.nodata is not None:
                said = f"{facts.extras.nodata}, which means no data, is taken as a colour and left out"
                extras = replace(facts.extras, nodata=None)
                header = replace(header, extras=extras, notes=(*header.notes, said))
        return _turned(_with_metadata(header, icc, exif), numbers, exif)


def _extras_of(path: Path, image: Image.Image, boxes: kinds.Boxes | None) -> tuple[Extras, tuple[str, ...]]:
    if _known(image.format) == "JPEG":
        return jpeg.extras_of(path, _as_jpeg(image))
    xmp = image.info.get("xmp")
    notes: tuple[str, ...] = ()
    if boxes is not None and boxes.gain_map:
        notes = ("HDR gain map is left out: the result is the standard picture",)
    if image.info.get("depth_images") or image.info.get("aux"):
        notes = (*notes, "depth map and other pictures beside are left out")
    if xmp and tells_of_other_pictures(xmp):
        xmp, notes = None, (*notes, "XMP that describes other pictures in the file is left out")
    dpi = image.info.get("dpi") if image.format == "BMP" else None
    resolution = resolution_of({282: dpi[0], 283: dpi[1]}) if dpi else resolution_of(dict(image.getexif()))
    chunks = ((b"cICP", boxes.cicp),) if boxes is not None and boxes.cicp else ()
    return Extras(resolution, xmp or None, chunks=chunks), notes


def _as_jpeg(image: Image.Image) -> JpegImagePlugin.JpegImageFile:
    """The image as what Pillow opens for JPEG and MPO."""
    return cast("JpegImagePlugin.JpegImageFile", image)


def _known(format: str | None) -> str:
    return "JPEG" if format == "MPO" else format or ""


def _with_exif(header: Header, icc: bytes | None, data: bytes) -> tuple[Header, Image.Exif | None]:
    """The header with a PNG's metadata, and the file's EXIF; None: damaged."""
    try:
        exif = exif_of(data, header.extras.xmp)
    except (SyntaxError, ValueError, OSError) as error:
        noted = replace(header, notes=(*header.notes, f"EXIF is damaged and left out ({error})"))
        return _with_metadata(noted, icc, None), None
    if header.extras.resolution is None:
        header = replace(header, extras=replace(header.extras, resolution=resolution_of(dict(exif))))
    return _with_metadata(header, icc, exif), exif


def _with_metadata(header: Header, icc: bytes | None, exif: Image.Exif | None) -> Header:
    icc, about_icc = fitting_profile(icc, header.gray)
    kept, about_exif = portable_exif(exif)
    if exif is not None and header.format != "TIFF":  # some put these into EXIF
        xmp, iptc = (value if isinstance(value := exif.get(tag), bytes) else None for tag in (700, 33723))
        extras = replace(header.extras, xmp=header.extras.xmp or xmp, iptc=header.extras.iptc or iptc)
        header = replace(header, extras=extras)
    return replace(header, icc=icc, exif=kept, notes=header.notes + about_icc + about_exif)


def _turned(header: Header, numbers: np.ndarray, exif: Image.Exif | None) -> Decoded:
    turn: Callable[[np.ndarray], np.ndarray] | None = upright(exif)
    if turn is not None:
        numbers = turn(numbers)
        if header.geo is not None:
            header = replace(header, geo=None, notes=(*header.notes, "georeference of a turned image is left out"))
        if swaps_sides(exif) and header.extras.resolution is not None:
            header = replace(header, extras=replace(header.extras, resolution=header.extras.resolution.turned()))
    return Decoded(replace(header, height=numbers.shape[0], width=numbers.shape[1]), numbers)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    with plainly(path), _without_limit(path) as image:
        check_size(path, image.height, image.width, max_pixels)
        yield image


def _without_limit(path: Path) -> Image.Image:
    """Header only. Pillow's own limit on pixels warns at half of where it raises; ours is checked from the header."""
    with _PILLOWS_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=sorted(set(FORMATS.values()) - {"PNG"}))
        except UnidentifiedImageError as error:
            raise RunError(f"{path}: {_unknown(path)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _unknown(path: Path) -> str:
    """Reason why no decoder accepts the file."""
    if path.stat().st_size == 0:
        return "the file is empty"
    kind, known = kinds.kind_of(path), ", ".join(kinds.READ)
    if kind is None:
        return f"not an image of a known format ({known})"
    if kind not in kinds.READ:
        return f"{kind}, which is not read here; save it as one of {known}"
    if kind in ("AVIF", "HEIF") and kind not in FORMATS.values():
        return f"{kind}, which is read with {'Pillow 11.3 or newer' if kind == 'AVIF' else 'the package pillow-heif'}"
    bits = kinds.jpeg_precision(path) if kind == "JPEG" else None
    if bits not in (None, 8):
        return f"a JPEG with {bits} bits per sample, which is not read here; save it as 16-bit PNG"
    return f"a {kind} that is damaged or of a kind that is not supported"


def _several(path: Path, count: int, kind: str) -> RunError:
    return RunError(f"{path}: {count} {kind}; only single images are upscaled, so save them one by one")


def _refuse_what_would_lose(path: Path, image: Image.Image) -> None:
    frames = 1 if image.format in ("MPO", "TIFF", "HEIF") else getattr(image, "n_frames", 1)
    if frames > 1:
        raise _several(path, frames, "animated frames")
    if image.format == "TIFF":
        bits = cast("TiffImagePlugin.TiffImageFile", image).tag_v2.get(258, (1,))
        if max(bits) > 8:
            raise RunError(
                f"{path}: TIFF with {len(bits)} samples of {max(bits)} bits is not supported; save it as 16-bit PNG"
            )
    if image.mode in ("LAB", "F", "I"):
        raise RunError(f"{path}: images of Pillow's mode {image.mode} are not supported; save it as 16-bit PNG")


def _eight_bit(image: Image.Image) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    icc, notes = image.info.get("icc_profile"), []
    if image.format == "MPO" or (image.format == "HEIF" and getattr(image, "n_frames", 1) > 1):
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
            assert converted is not None  # as it is unless done in place
            return converted, None, "CMYK converted to sRGB through its profile"
        except (ImageCms.PyCMSError, OSError) as error:
            return image.convert("RGB"), None, f"CMYK converted to RGB; its profile is not usable ({error})"
    return image.convert("RGB"), None, "CMYK without a profile converted to RGB by plain arithmetic"
