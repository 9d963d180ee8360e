"""Pictures to image files, written whole or not at all."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import png
from PIL import ExifTags, Image

from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing

from .picture import FORMATS, Picture

_LARGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "BMP": 2**31 - 1, "TIFF": 2**31 - 1, "PNG": 2**31 - 1}
_BASE = ExifTags.Base


def check_writable(path: str | os.PathLike, picture: Picture, size: tuple[int, int]) -> None:
    """Raise RunError where the format of ``path`` cannot hold ``picture`` at ``size`` (height, width)."""
    path = Path(path)
    format = _format_of(path)
    if max(size) > _LARGEST_SIDE[format]:
        raise RunError(
            f"cannot write {path}: {size[1]}x{size[0]} pixels are more than {format} holds "
            f"({_LARGEST_SIDE[format]} a side); write PNG or TIFF instead"
        )
    if picture.alpha is not None and format in ("JPEG", "BMP"):
        raise RunError(f"cannot write {path}: {format} keeps no alpha; write PNG, WebP or TIFF instead")
    if picture.depth == 16 and format in ("JPEG", "BMP", "WEBP"):
        raise RunError(f"cannot write {path}: {format} has 8 bits a sample, the image has 16; write PNG instead")
    if picture.depth == 16 and format == "TIFF" and not (picture.gray and picture.alpha is None):
        raise RunError(f"cannot write {path}: 16-bit TIFF is written for gray images only; write PNG instead")


def write(path: str | os.PathLike, picture: Picture, quality: int = 95) -> None:
    """Write ``picture`` in the format of the suffix of ``path``, whole or not at all.

    Values are clipped to [0, 1] and rounded once, to the depth of the picture. WebP has no gray (written as RGB) and
    is lossless at quality 100; BMP keeps neither profile nor EXIF.

    Raises:
        RunError: the format cannot hold the picture, or the file cannot be written.
    """
    path = Path(path)
    check_writable(path, picture, picture.size)
    format = _format_of(path)
    samples = _samples(picture)
    exif = _exif_bytes(picture)
    with replacing(path) as beside:
        if picture.depth == 16 and format == "PNG":
            _write_sixteen_bit_png(beside, samples, picture.icc, exif)
            return
        image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
        options: dict[str, object] = {"icc_profile": picture.icc}
        if exif is not None:
            options["exif"] = exif
        if format == "JPEG":
            options |= {"quality": quality, "subsampling": 0}
        elif format == "WEBP":
            options |= {"quality": quality, "lossless": quality == 100, "exact": True}
        elif format == "TIFF":
            # libtiff, which compresses, cannot write EXIF's sub-directories; Pillow's own writer can.
            compression = "raw" if _has_directories(picture.exif) else "tiff_deflate"
            options |= {"compression": compression, "big_tiff": samples.nbytes > 2**31}
        try:
            image.save(beside, format=format, **options)
        except (ValueError, RuntimeError, SystemError, struct.error) as error:
            raise RunError(f"cannot write {path}: {error}") from error


def _format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise RunError(f"cannot write {path}: the suffix must be one of {' '.join(FORMATS)}") from None


def _has_directories(exif: Image.Exif | None) -> bool:
    return exif is not None and any(tag in exif for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))


def _exif_bytes(picture: Picture) -> bytes | None:
    if picture.exif is None:
        return None
    exif = Image.Exif()
    exif.update(dict(picture.exif))
    details = dict(exif.get(ExifTags.IFD.Exif, {}))
    height, width = picture.size
    for tag, value in ((_BASE.ExifImageWidth, width), (_BASE.ExifImageHeight, height)):
        if tag in details:
            details[tag] = value
    if details:
        exif[ExifTags.IFD.Exif] = details
    exif[_BASE.Orientation] = 1
    return exif.tobytes()


def _samples(picture: Picture) -> np.ndarray:
    """Integers [H, W, C] of the picture's depth, alpha last."""
    planes = picture.color.shape[2] + (picture.alpha is not None)
    dtype = np.uint16 if picture.depth == 16 else np.uint8
    samples = np.empty((*picture.size, planes), dtype)
    top = 2**picture.depth - 1
    # Row by row: no float copy of the whole image, which may be larger than all the rest.
    for row in range(picture.size[0]):
        samples[row, :, : picture.color.shape[2]] = np.rint(np.clip(picture.color[row], 0, 1) * top)
        if picture.alpha is not None:
            samples[row, :, -1] = np.rint(np.clip(picture.alpha[row], 0, 1) * top)
    return samples


def _write_sixteen_bit_png(path: Path, samples: np.ndarray, icc: bytes | None, exif: bytes | None) -> None:
    height, width, planes = samples.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # PNG's filter "Up": each byte less the one above
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0))]
    if icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    compressed = zlib.compress(filtered, 6)
    step = 2**30
    chunks += [(b"IDAT", compressed[start : start + step]) for start in range(0, len(compressed), step)]
    with open(path, "wb") as file:
        png.write_chunks(file, [*chunks, (b"IEND", b"")])
