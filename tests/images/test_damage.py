"""Files that are damaged anywhere: one line that names the file, or a picture; nothing else, and at once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from awsrn_fast import images
from awsrn_fast.errors import RunError


def by_pillow(format: str, image: Image.Image | None = None, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "Maker", {0xA002: 5}
    if format in ("PNG", "JPEG", "WEBP"):
        options["exif"] = exif
    array = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    file = io.BytesIO()
    (image or Image.fromarray(array)).save(file, format, **options)
    return file.getvalue()


def by_tifffile(dtype: str, **options) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    array = np.random.default_rng(0).integers(0, 250, (20, 24, 3)).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="rgb", **options)
    return file.getvalue()


SEEDS = {
    "png": lambda: by_pillow("PNG"),
    "palette": lambda: by_pillow("PNG", Image.linear_gradient("L").resize((9, 9)).quantize(8), transparency=1),
    "jpeg": lambda: by_pillow("JPEG"),
    "webp": lambda: by_pillow("WEBP"),
    "bmp": lambda: by_pillow("BMP"),
    "tiff": lambda: by_pillow("TIFF", compression="tiff_lzw"),
    "tiled": lambda: by_tifffile("uint16", tile=(16, 16), compression="zlib", predictor=True),
    "floating": lambda: by_tifffile("float32", rowsperstrip=5, compression="lzw"),
    "big": lambda: by_tifffile("uint8", bigtiff=True),
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    content = bytearray(content)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(content[: rng.integers(len(content))])
    if kind == 1:
        low, high = sorted(rng.integers(0, len(content), 2))
        del content[low:high]
        return bytes(content)
    reach = len(content) if kind == 2 else min(len(content), 300)  # headers are where the traps are
    for at in rng.integers(0, reach, rng.integers(1, 5)):
        content[at] = rng.integers(256)
    return bytes(content)


@pytest.mark.parametrize("name", SEEDS)
def test_damage_anywhere_gives_one_line_or_a_picture(tmp_path, name, capfd):
    rng, path, refused = np.random.default_rng(0), tmp_path / "in", 0
    content = SEEDS[name]()
    for _ in range(120):
        path.write_bytes(damaged(content, rng))
        try:
            images.pixels(path, 10**5)
            picture = images.read(path, 10**5)
        except RunError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            images.write(tmp_path / "out.tif", picture)
    assert refused > 30
    assert "tifffile" not in capfd.readouterr().err  # its log
