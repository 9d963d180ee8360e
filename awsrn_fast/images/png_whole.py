"""PNG kinds that are decoded whole: palette, below 8 bits, interlaced, with a transparent colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .png_chunks import GRAY, PALETTE, RGB, Facts
from .png_rows import DECODERS

_SMALL = {
    (GRAY, 1): ("1", "1"),
    (GRAY, 2): ("L", "L;2"),
    (GRAY, 4): ("L", "L;4"),
    (PALETTE, 1): ("P", "P;1"),
    (PALETTE, 2): ("P", "P;2"),
    (PALETTE, 4): ("P", "P;4"),
    (PALETTE, 8): ("P", "P"),
}
_BEST_DEFLATE = 1032
"""Largest compression ratio of deflate."""


def decode(path: Path, facts: Facts) -> np.ndarray:
    """[H, W, planes] uint8 or uint16; other kinds are converted to gray, gray with alpha, RGB or RGBA.

    Raises:
        ValueError: damaged.
    """
    bands = {GRAY: 1, RGB: 3, PALETTE: 1, 4: 2, 6: 4}[facts.kind]
    packed = sum(length for _, length in facts.parts)
    if facts.height * facts.width * bands * facts.depth // 8 > _BEST_DEFLATE * packed + 4096:
        raise ValueError("the image data ends early")
    with open(path, "rb") as file:
        pieces = []
        for offset, length in facts.parts:
            file.seek(offset)
            pieces.append(file.read(length))
    if (facts.kind, facts.depth) in _SMALL:
        numbers = _by_pillow(facts, b"".join(pieces), *_SMALL[facts.kind, facts.depth])[..., None]
        if numbers.dtype == bool:
            numbers = numbers * np.uint8(255)
    else:
        numbers = _of_bytes(facts, b"".join(pieces), bands)
    if facts.kind == PALETTE:
        return _colors(facts)[numbers[..., 0]]
    if facts.transparency is None:
        return numbers
    top = 2**facts.depth - 1
    clear = np.frombuffer(facts.transparency, ">u2") & top
    if facts.depth < 8:
        clear = clear * (255 // top)
    opaque = (numbers != clear.astype(numbers.dtype)).any(axis=-1, keepdims=True)
    return np.concatenate((numbers, opaque * numbers.dtype.type(np.iinfo(numbers.dtype).max)), axis=-1)


def _by_pillow(facts: Facts, data: bytes, mode: str, raw_mode: str) -> np.ndarray:
    size = facts.width, facts.height
    return np.asarray(Image.frombytes(mode, size, data, "zip", raw_mode, int(facts.interlaced)))


def _of_bytes(facts: Facts, data: bytes, bands: int) -> np.ndarray:
    raw_modes = DECODERS[bands * facts.depth // 8]
    halves = [_by_pillow(facts, data, raw.split(";")[0], raw) for raw in raw_modes]
    plain = np.stack(halves, axis=-1) if len(halves) > 1 else halves[0]
    plain = np.ascontiguousarray(plain).reshape(facts.height, facts.width, -1)
    return plain.view(">u2").astype(np.uint16) if facts.depth == 16 else plain


def _colors(facts: Facts) -> np.ndarray:
    """The palette as [256, 3 or 4]; black where it has no entry."""
    colors = np.zeros((256, 4), np.uint8)
    entries = min(len(facts.palette) // 3, 256)
    colors[:entries, :3] = np.frombuffer(facts.palette, np.uint8, 3 * entries).reshape(-1, 3)
    colors[:, 3] = 255
    if facts.transparency is None:
        return colors[:, :3]
    clear = facts.transparency[:256]
    colors[: len(clear), 3] = np.frombuffer(clear, np.uint8)
    return colors
