"""Images of one to four planes through a network for RGB: gray, alpha and the colour under transparent pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from awsrn_fast.errors import RunError
from awsrn_fast.images import Picture

from .process_memory import FILL_GRID
from .protocols import Pixels, Source

Network = Callable[[Tensor], Tensor]
"""``[1, 3, H, W]`` RGB in [0, 1] -> ``[1, 3, sH, sW]``, fp32 on the CPU."""
Strips = Callable[[Source], Iterator[Tensor]]
"""An RGB image -> its result from top to bottom, ``[1, 3, rows, sW]``, fp32 on the CPU."""
_ROWS = 256


class Array:
    """Source of pixels in memory, ``[H, W, planes]``."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.height, self.width, self.planes = values.shape

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return self.values[top:bottom, left:right]


class Color:
    """Source of an image's colours as RGB; invisible ones are filled from visible pixels around."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels, self.height, self.width = pixels, pixels.height, pixels.width

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        if not has_alpha(self.pixels):
            return _as_rgb(self.pixels.window(top, bottom, left, right))
        first, last = top // FILL_GRID * FILL_GRID, min(-(-bottom // FILL_GRID) * FILL_GRID, self.height)
        values = self.pixels.window(first, last, 0, self.width)
        filled = fill_hidden(values[..., :-1], values[..., -1])
        return _as_rgb(filled[top - first : bottom - first, left:right])


class Alpha:
    """Source of an image's alpha as a gray image."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels, self.height, self.width = pixels, pixels.height, pixels.width

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        return _as_rgb(self.pixels.window(top, bottom, left, right)[..., -1:])


def enlarged(pixels: Pixels, strips: Strips) -> Iterator[np.ndarray]:
    """The upscaled image from top to bottom, float32 ``[rows, sW, planes]``, not rounded.

    Gray goes through the network as RGB and comes back as the mean of the three. Alpha goes through it as a gray
    image, so that its edges are as sharp as the colours'; a constant alpha stays constant. Invisible pixels first take
    the colour of those around them, so that leftover colours do not bleed in.

    Raises:
        RunError: the network's output is not finite.
    """
    alpha = flat_alpha(pixels) if has_alpha(pixels) else None
    alphas = strips(Alpha(pixels)) if has_alpha(pixels) and alpha is None else None
    for strip in strips(Color(pixels)):
        color = _rows(strip)
        if pixels.planes < 3:
            color = color.mean(axis=2, keepdims=True)
        if alphas is not None:
            color = np.concatenate((color, _rows(next(alphas)).mean(axis=2, keepdims=True)), axis=2)
        elif alpha is not None:
            color = np.concatenate((color, np.full((*color.shape[:2], 1), alpha, np.float32)), axis=2)
        yield color
    # Resume the generator after its last strip, so that it finishes.
    if alphas is not None and next(alphas, None) is not None:
        raise RuntimeError("colour and alpha came in strips of different heights")


def enhance(picture: Picture, network: Network, scale: int) -> Picture:
    """A whole image upscaled at once, see :func:`enlarged`."""

    def strips(source: Source) -> Iterator[Tensor]:
        yield network(source.window(0, source.height, 0, source.width))

    large = np.concatenate(list(enlarged(pixels_of(picture), strips)))
    color, alpha = (large, None) if picture.alpha is None else (large[..., :-1], large[..., -1])
    return replace(picture, color=color, alpha=alpha)


def pixels_of(picture: Picture) -> Array:
    """A picture's pixels, alpha last."""
    return Array(picture.rows(0, picture.size[0]))


def passes(pixels: Pixels) -> int:
    """Number of network passes over the image."""
    return 1 + (has_alpha(pixels) and flat_alpha(pixels) is None)


def has_alpha(pixels: Pixels) -> bool:
    return pixels.planes in (2, 4)


def flat_alpha(pixels: Pixels) -> float | None:
    """The alpha of every pixel if it is the same for all, else None."""
    first = None
    for top in range(0, pixels.height, _ROWS):
        alpha = pixels.window(top, min(top + _ROWS, pixels.height), 0, pixels.width)[..., -1]
        first = alpha.flat[0] if first is None else first
        if (alpha != first).any():
            return None
    return None if first is None else float(first)


def fill_hidden(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """``color [H, W, C]`` with the pixels of alpha 0 filled from visible ones around (a pyramid of weighted means)."""
    if alpha.all() or not alpha.any():
        return color
    return _filled(color, alpha)


def _filled(color: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if weight.all():
        return color
    height, width = weight.shape
    padding = ((0, height % 2), (0, width % 2))
    weighted = np.pad(color * weight[..., None], (*padding, (0, 0)))
    half_weight = _pooled(np.pad(weight, padding)[..., None])
    half_color = _pooled(weighted) / np.where(half_weight > 0, half_weight, 1)
    coarse = _filled(half_color, half_weight[..., 0])
    around = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(weight[..., None] > 0, color, around)


def _pooled(values: np.ndarray) -> np.ndarray:
    return (values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2]) / 4


def _as_rgb(values: np.ndarray) -> Tensor:
    rgb = np.broadcast_to(values, (*values.shape[:2], 3))
    return torch.from_numpy(np.array(rgb.transpose(2, 0, 1), order="C"))[None]


def _rows(strip: Tensor) -> np.ndarray:
    if not torch.isfinite(strip).all():
        raise RunError("the network's output has NaN or infinite values; try --dtype float32")
    return strip[0].permute(1, 2, 0).numpy()
