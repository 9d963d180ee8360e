"""The picture in memory, and the formats it comes from and goes to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Formats by file suffix (in lower case)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright image. ``notes`` says in plain words what could not be kept as it was in the file."""

    color: np.ndarray
    """float32 [H, W, 3] RGB or [H, W, 1] gray, in [0, 1], not premultiplied."""
    alpha: np.ndarray | None = None
    """float32 [H, W] in [0, 1], or None for an opaque image."""
    depth: int = 8
    """Bits a sample in the file: 8 or 16."""
    icc: bytes | None = None
    exif: Image.Exif | None = None
    """Without the orientation, which is applied on reading."""
    format: str = "PNG"
    """Pillow's name of the file's format."""
    notes: tuple[str, ...] = ()

    @property
    def gray(self) -> bool:
        return self.color.shape[2] == 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.color.shape[0], self.color.shape[1]
