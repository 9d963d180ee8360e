"""Orientation, colour profile and EXIF: what of them goes on to the larger image, and how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image

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
# The rest of the main directory describes the old file's own layout, and a MakerNote points to offsets in it.
_LARGEST = 65000
_KEPT = (_BASE.ImageDescription, _BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime, _BASE.Artist,
         _BASE.Copyright)  # fmt: skip


def upright(exif: Image.Exif | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """How to turn ``[H, W, ...]`` so that it stands upright; None: it does."""
    return None if exif is None else _UPRIGHT.get(exif.get(_BASE.Orientation, 1))


def fitting_profile(icc: bytes | None, gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """A profile of another colour space than the pixels' would show wrong colours: left out, with a note."""
    space = b"GRAY" if gray else b"RGB "
    if not icc or icc[16:20] == space:
        return icc or None, ()
    name = icc[16:20].decode("ascii", "replace").strip()
    return None, (f"colour profile ({name}) does not fit the pixels and is left out",)


def portable_exif(source: Image.Exif | None) -> tuple[Image.Exif | None, tuple[str, ...]]:
    """The part of an image's EXIF that still holds for a larger one, or a note why there is none."""
    exif = Image.Exif()
    if source is None:
        return None, ()
    try:
        for tag in _KEPT:
            if tag in source and not _tells_the_size(source[tag]):
                exif[tag] = source[tag]
        for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            values = {key: value for key, value in source.get_ifd(tag).items() if key != _BASE.MakerNote}
            if values:
                exif[tag] = values
        size = len(exif.tobytes())
    except DECODING as error:
        return None, (f"EXIF is damaged and left out ({error})",)
    if size > _LARGEST:
        return None, (f"EXIF of {size} bytes is too long for JPEG and left out",)
    return (exif if len(exif) else None), ()


def _tells_the_size(value: object) -> bool:
    """Descriptions by which tifffile, ImageJ and OME's readers lay out the pixels: not those of another size."""
    return isinstance(value, str) and (value.startswith(('{"shape"', "ImageJ=")) or "<OME " in value[:2000])


def exif_for(header: Header) -> Image.Exif | None:
    """EXIF of the file to write: with the new size, upright."""
    if header.exif is None:
        return None
    exif = Image.Exif()
    exif.update(dict(header.exif))
    details = dict(exif.get(ExifTags.IFD.Exif, {}))
    for tag, value in ((_BASE.ExifImageWidth, header.width), (_BASE.ExifImageHeight, header.height)):
        if tag in details:
            details[tag] = value
    if details:
        exif[ExifTags.IFD.Exif] = details
    exif[_BASE.Orientation] = 1
    return exif
