"""Picture to larger picture: gray, alpha and the colour under transparent pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from awsrn_fast.errors import RunError
from awsrn_fast.images import Picture

Network = Callable[[Tensor], Tensor]
"""``[1, 3, H, W]`` RGB in [0, 1] -> ``[1, 3, sH, sW]``, fp32 on the CPU."""


def enhance(picture: Picture, network: Network, scale: int) -> Picture:
    """Upscale every channel; the values stay float, so rounding happens once, when the picture is written.

    Gray goes through the network as RGB and comes back as the mean of the three. Alpha goes through it as a gray
    picture, so that its edges are as sharp as the colours'; where it is the same everywhere it stays that value.
    Before, pixels that cannot be seen take the colour of those around them, lest what a tool left there bleeds in.

    Raises:
        RunError: the network gave values that are not finite.
    """
    color, alpha = picture.color, picture.alpha
    if alpha is not None:
        color = fill_hidden(color, alpha)
    large = _run(np.broadcast_to(color, (*picture.size, 3)), network)
    if picture.gray:
        large = large.mean(axis=2, keepdims=True)
    if alpha is not None:
        size = (scale * picture.size[0], scale * picture.size[1])
        if is_flat(alpha):
            alpha = np.full(size, alpha.flat[0], np.float32)
        else:
            alpha = _run(np.broadcast_to(alpha[..., None], (*picture.size, 3)), network).mean(axis=2)
    return replace(picture, color=large, alpha=alpha)


def passes(picture: Picture) -> int:
    """How many times ``enhance`` calls the network."""
    return 1 + (picture.alpha is not None and not is_flat(picture.alpha))


def is_flat(values: np.ndarray) -> bool:
    return bool((values == values.flat[0]).all())


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


def _run(color: np.ndarray, network: Network) -> np.ndarray:
    x = torch.from_numpy(np.array(color.transpose(2, 0, 1), order="C"))[None]
    y = network(x)[0]
    if not torch.isfinite(y).all():
        raise RunError("the network gave values that are not finite; try --dtype float32")
    return y.permute(1, 2, 0).numpy()
