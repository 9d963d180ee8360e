"""From HR to LR: bicubic, and optionally blur before it and noise and JPEG after it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import sha256
from math import ceil

import numpy as np
from PIL import Image

from awsrn_fast.errors import UserError

from .resize import downscale


@dataclass(frozen=True)
class Degradation:
    """What happens to an image besides bicubic shrinking. The default is nothing, as the benchmarks are made."""

    blur: float = 0.0
    """Standard deviation of a Gaussian on the HR image, in HR pixels, 0 to 16."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on the LR image, in levels of 255, 0 to 255."""
    jpeg: int | None = None
    """Quality 1 to 100 (4:2:0) of JPEG compression of the LR image, or None for none."""

    def __post_init__(self) -> None:
        if not 0 <= self.blur <= 16:
            raise UserError(f"degradation blur must be 0 to 16 HR pixels, got {self.blur}")
        if not 0 <= self.noise <= 255:
            raise UserError(f"degradation noise must be 0 to 255 levels, got {self.noise}")
        if self.jpeg is not None and not 1 <= self.jpeg <= 100:
            raise UserError(f"degradation jpeg must be a quality of 1 to 100, got {self.jpeg}")

    @property
    def key(self) -> str:
        """Name for file names; different settings have different ones."""
        return f"b{float(self.blur)!r}-n{float(self.noise)!r}-j{self.jpeg or 0}" if self != Degradation() else "bicubic"


def make_lr(hr: np.ndarray, scale: int, degradation: Degradation | None = None) -> np.ndarray:
    """The LR image of an HR image; the same for the same pixels and settings, noise included.

    Args:
        hr: uint8 [H, W, 3], H and W multiples of ``scale``.
        scale: whole factor.
        degradation: None for bicubic alone.

    Returns:
        uint8 [H / scale, W / scale, 3].
    """
    degradation = degradation or Degradation()
    lr = downscale(_blur(hr, degradation.blur) if degradation.blur else hr, scale)
    if degradation.noise:
        # Seeded by the picture, so that it does not depend on the order of the files or on who computes it.
        generator = np.random.Generator(np.random.Philox(int.from_bytes(sha256(hr.tobytes()).digest()[:8], "big")))
        lr = _to_levels(lr + degradation.noise * generator.standard_normal(lr.shape))
    return _jpeg(lr, degradation.jpeg) if degradation.jpeg else lr


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    reach = ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    values = image.astype(np.float32)
    for axis in (0, 1):
        border = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(values, border, mode="symmetric")
        size = values.shape[axis]
        values = np.zeros_like(values)
        for tap, weight in enumerate(weights):
            values += weight * (padded[tap : tap + size] if axis == 0 else padded[:, tap : tap + size])
    return _to_levels(values)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(buffer).convert("RGB"))


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
