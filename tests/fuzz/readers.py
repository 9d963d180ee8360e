"""Damaged image files through the readers and back into files: ``python readers.py COUNT FIRST_SEED``."""

from __future__ import annotations

import io
import random
import struct
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from mutations import mutated
from PIL import Image, PngImagePlugin, features
from watch import watched

from awsrn_fast import images

LIMIT = 2**30
"""Bytes that reading may take."""
_ARRAY = np.random.default_rng(0).integers(0, 250, (40, 48, 4)).astype(np.uint8)
_XMP = b"<x:xmpmeta tiff:Orientation='1' tiff:XResolution='300/1'/>"


def by_pillow(format: str, array: np.ndarray = _ARRAY[..., :3], mode: str | None = None, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "Maker", {0xA002: 5, 0xA20E: 3.5, 0x9214: (1, 2, 3, 4)}
    if format in ("PNG", "JPEG", "WEBP", "AVIF"):
        options["exif"] = exif
    image, file = Image.fromarray(array), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def by_tifffile(dtype: str, planes: int = 3, **options: object) -> bytes:
    file, array = io.BytesIO(), _ARRAY[..., :planes].astype(dtype)
    pixels, photometric = (array, "rgb") if planes > 1 else (array[..., 0], "minisblack")
    tifffile.imwrite(file, pixels, photometric=photometric, **options)
    return file.getvalue()


def with_texts() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "picture", zip=True)
    info.add_itxt("XML:com.adobe.xmp", _XMP.decode(), zip=True)
    info.add(b"cICP", bytes([9, 16, 0, 1]))
    return by_pillow("PNG", pnginfo=info, dpi=(300, 300), icc_profile=bytes(16) + b"RGB " + bytes(100))


def masked() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(_ARRAY[..., :3], photometric="rgb")
        writer.write(_ARRAY[..., 0] > 9, photometric="mask", subfiletype=4)
    return file.getvalue()


_GEO = [
    (33550, "d", 3, (1.0, 1.0, 0.0), True),
    (33922, "d", 6, (0.0,) * 6, True),
    (42113, "s", 0, "7", True),
    (42112, "s", 0, '<Item role="scale">2</Item>', True),
    (700, "B", len(_XMP), _XMP, True),
]
FILES: dict[str, Callable[[], bytes]] = {
    "png": with_texts,
    "alpha.png": lambda: by_pillow("PNG", _ARRAY),
    "palette.png": lambda: by_pillow("PNG", mode="P", transparency=bytes(range(9))),
    "bit.png": lambda: by_pillow("PNG", mode="1"),
    "deep.png": lambda: imagecodecs.png_encode(_ARRAY.astype(np.uint16) * 257),
    "jpeg": lambda: by_pillow("JPEG", xmp=_XMP, comment=b"a comment", dpi=(300, 300)),
    "progressive.jpeg": lambda: by_pillow("JPEG", progressive=True, quality=40),
    "cmyk.jpeg": lambda: by_pillow("JPEG", mode="CMYK"),
    "mpo.jpeg": lambda: by_pillow("MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
    "webp": lambda: by_pillow("WEBP", xmp=_XMP),
    "lossless.webp": lambda: by_pillow("WEBP", _ARRAY, lossless=True),
    "bmp": lambda: by_pillow("BMP", dpi=(300, 300)),
    "palette.bmp": lambda: by_pillow("BMP", mode="P"),
    "tiff": lambda: by_pillow("TIFF", compression="tiff_lzw"),
    "palette.tiff": lambda: by_pillow("TIFF", mode="P"),
    "bit.tiff": lambda: by_pillow("TIFF", mode="1", compression="group4"),
    "jpeg.tiff": lambda: by_pillow("TIFF", compression="jpeg"),
    "tiled.tiff": lambda: by_tifffile("uint16", 4, tile=(16, 16), compression="zlib", predictor=True),
    "floating.tiff": lambda: by_tifffile("float32", 1, rowsperstrip=5, compression="lzw", extratags=_GEO),
    "measured.tiff": lambda: by_tifffile("uint8", 1, compression="zstd", extratags=_GEO),
    "big.tiff": lambda: by_tifffile("int16", 1, bigtiff=True, resolution=(3, 3)),
    "imagej.tiff": lambda: by_tifffile("uint16", 1, imagej=True),
    "mask.tiff": masked,
}
if "avif" in features.modules and features.check("avif"):
    FILES |= {
        "avif": lambda: by_pillow("AVIF", xmp=_XMP, speed=10),
        "alpha.avif": lambda: by_pillow("AVIF", _ARRAY, speed=10),
        "deep.avif": lambda: imagecodecs.avif_encode(_ARRAY[..., :3].astype(np.uint16) * 4, bitspersample=10),
    }


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what is in them, so that what is in them is looked at."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out)


def through(path: Path, target: Path) -> None:
    """All that is done with a file."""
    images.pixels(path)
    images.format_inside(path)
    with images.reader(path, memory_limit=LIMIT) as reader:
        header = reader.header
        if header.height * header.width > 10**6:
            reader.window(0, min(header.height, 16), 0, min(header.width, 64))
            return
        with images.writer(target, header.scaled(1)) as file:
            file.write(reader.window(0, header.height, 0, header.width))


def cases(count: int, first: int, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    good = {name: make() for name, make in FILES.items()}
    path = folder / "in"
    for name, content in good.items():
        path.write_bytes(content)
        assert images.read(path).size in ((40, 48), (48, 40)), name
    for seed in range(first, first + count):
        draw = random.Random(seed)
        name = draw.choice(list(good))
        content = mutated(good[name], seed, head=draw.choice((64, 400, 4096)))
        path.write_bytes(with_checksums(content) if name.endswith("png") and draw.random() < 0.7 else content)
        target = folder / f"out{draw.choice(('.png', '.tif', '.jpg', '.webp', '.bmp'))}"
        yield f"{name}, seed {seed}", lambda target=target: through(path, target)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        sys.exit(min(watched(cases(int(sys.argv[1]), int(sys.argv[2]), Path(place))), 100))
