"""MATLAB's bicubic `imresize` by a whole factor, in exact integer arithmetic.

The benchmarks' LR files were made by it, so results are comparable with the literature only on images that match it
bit by bit: kernel a = -0.5, widened by the scale when shrinking, rows before columns, and rounded to
8 bit after each of the two passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from awsrn_fast.errors import UserError


def downscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Downscale by ``scale``, bit-exact with the benchmarks' distributed LR files.

    Args:
        image: uint8 [H, W, C], H and W multiples of ``scale`` (see ``crop_to_multiple``).
        scale: whole factor, 1 to 16.

    Returns:
        uint8 [H / scale, W / scale, C].
    """
    _check(image, scale)
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise UserError(f"image of {width}x{height} pixels is not a multiple of the scale {scale}: crop it first")
    if scale == 1:
        return image.copy()
    return _columns(_shrink_rows(image, scale), scale, _shrink_rows)


def upscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Upscale by ``scale``: the bicubic baseline of the tables.

    Args:
        image: uint8 [H, W, C].
        scale: whole factor, 1 to 16.

    Returns:
        uint8 [H * scale, W * scale, C].
    """
    _check(image, scale)
    if scale == 1:
        return image.copy()
    return _columns(_enlarge_rows(image, scale), scale, _enlarge_rows)


def crop_to_multiple(image: np.ndarray, scale: int) -> np.ndarray:
    """The top left part of ``image`` [H, W, C] whose sides are multiples of ``scale`` (a view)."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def shrinking_taps(scale: int) -> np.ndarray:
    """The kernel along an axis that ``downscale`` weighs pixels by, in whole numbers, not normalised.

    Tap ``t`` of output pixel ``i`` lies on input pixel ``scale * i + t - (len(taps) - scale) // 2``.
    """
    reach = (3 * scale + 1) // 2
    return _cubic(2 * np.arange(-reach, scale + reach) + 1 - scale, 2 * scale)


def _check(image: np.ndarray, scale: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or not image.size:
        raise UserError(f"expected a uint8 image [H, W, C] with pixels in it, got {image.dtype} {list(image.shape)}")
    if not 1 <= scale <= 16:  # 16 keeps the sums of a pass within 32 bits
        raise UserError(f"scale must be a whole number from 1 to 16, got {scale}")


def _cubic(distance: np.ndarray, unit: int) -> np.ndarray:
    """The kernel at ``distance / unit``, times ``2 * unit**3``: a whole number, so no rounding can differ."""
    d = np.abs(distance).astype(np.int64)
    near = 3 * d**3 - 5 * d**2 * unit + 2 * unit**3
    far = -(d**3) + 5 * d**2 * unit - 8 * d * unit**2 + 4 * unit**3
    return np.where(d <= unit, near, np.where(d <= 2 * unit, far, 0))


def _shrink_rows(image: np.ndarray, scale: int) -> np.ndarray:
    # The border at x8 is how those files were made, not MATLAB's default.
    border: Literal["edge", "symmetric"] = "edge" if scale == 8 else "symmetric"
    weights = shrinking_taps(scale)
    reach = (len(weights) - scale) // 2
    rows = image.shape[0] // scale
    padded = np.pad(image, ((reach, reach), (0, 0), (0, 0)), mode=border)
    total = np.zeros((rows, *image.shape[1:]), np.int32)
    for tap, weight in enumerate(weights):
        if weight:
            total += padded[tap : tap + scale * (rows - 1) + 1 : scale] * np.int32(weight)
    return _round(total, int(weights.sum()))


def _enlarge_rows(image: np.ndarray, scale: int) -> np.ndarray:
    padded = np.pad(image, ((2, 2), (0, 0), (0, 0)), mode="symmetric").astype(np.int32)
    rows = image.shape[0]
    out = np.empty((rows, scale, *image.shape[1:]), np.uint8)
    for phase in range(scale):
        # Output pixel i * scale + phase lies (2 * phase + 1 - scale) / (2 * scale) pixels below input pixel i.
        weights = _cubic((2 * phase + 1 - scale) - 2 * scale * np.arange(-2, 3), 2 * scale)
        total = np.zeros(image.shape, np.int32)
        for tap, weight in enumerate(weights):
            if weight:
                total += padded[tap : tap + rows] * np.int32(weight)
        out[:, phase] = _round(total, int(weights.sum()))
    return out.reshape(rows * scale, *image.shape[1:])


def _columns(image: np.ndarray, scale: int, rows_of: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    # Transposed, a pass over columns reads whole rows of memory, many times faster than a strided one.
    return np.ascontiguousarray(rows_of(np.ascontiguousarray(image.swapaxes(0, 1)), scale).swapaxes(0, 1))


def _round(total: np.ndarray, one: int) -> np.ndarray:
    """``total / one`` to the nearest level, halves up."""
    return np.clip((total + one // 2) // one, 0, 255).astype(np.uint8)
