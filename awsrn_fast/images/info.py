"""Pillow's metadata (``Image.info``), adapted to the upscaled image."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image

from .extras import Extras, scaled_exif, xmp_of
from .metadata import LONGEST, exif_of, portable_exif
from .windows import DECODING

_KEPT = ("icc_profile", "comment", "gamma", "srgb", "chromaticity", "photoshop", "cicp")
_XMP = ("xmp", "XML:com.adobe.xmp")
_SIZES = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)


def scaled_info(image: Image.Image, scale: int) -> dict[str | tuple[int, int], Any]:
    """``info`` of the image upscaled by ``scale``, not rotated.

    Profile, gamma, comment and PNG's texts stay; resolution (``dpi``), EXIF and XMP are for the new size. EXIF loses
    thumbnail and maker's note; entries on the old file's encoding, or on an animation, are left out.
    """
    found: dict[str | tuple[int, int], Any] = {key: image.info[key] for key in _KEPT if key in image.info}
    texts = getattr(image, "text", None)
    found |= {key: value for key, value in (texts if isinstance(texts, dict) else {}).items() if key not in _XMP}
    if dpi := image.info.get("dpi"):
        found["dpi"] = tuple(scale * value for value in dpi)
    height, width = scale * image.height, scale * image.width
    for key in _XMP:
        if value := image.info.get(key):
            packet = value.encode() if isinstance(value, str) else value
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            packet = xmp_of(Extras(xmp=packet).scaled(scale).xmp or b"", height, width, turn)
            found[key] = packet.decode() if isinstance(value, str) else packet
    if isinstance(data := image.info.get("exif"), bytes):
        larger = _exif(data, scale, height, width)
        found |= {} if larger is None else {"exif": larger}
    return found


def _exif(data: bytes, scale: int, height: int, width: int) -> bytes | None:
    try:
        source = exif_of(data)
        kept, _ = portable_exif(source)
        exif = scaled_exif(kept, scale) if kept is not None else Image.Exif()
        details = dict(exif.get(ExifTags.IFD.Exif, {}))
        details |= {tag: value for tag, value in zip(_SIZES, (width, height), strict=True) if tag in details}
        if details:
            exif[ExifTags.IFD.Exif] = details
        for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution):
            if tag in source:
                exif[tag] = float(source[tag]) * scale
        for tag in (ExifTags.Base.ResolutionUnit, ExifTags.Base.Orientation):
            if tag in source:
                exif[tag] = source[tag]
        packed = exif.tobytes()
    except DECODING:
        return None
    return packed if len(exif) and len(packed) <= LONGEST + 500 else None
