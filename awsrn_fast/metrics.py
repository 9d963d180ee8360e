"""PSNR and SSIM as super-resolution papers report them: BT.601 luma of the 8-bit result, borders cut.

Written out here rather than taken from torchmetrics: its SSIM averages a padded map with a 121-tap kernel in fp32,
where the public evaluation script takes the 'valid' part in fp64; separable filters need a sixth of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .errors import UserError

Network = Callable[[Tensor], Tensor]

_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Score:
    psnr: float
    """dB; infinite for equal images."""
    ssim: float


def score(result: np.ndarray, hr: np.ndarray, scale: int) -> Score:
    """Compare a result with the original.

    Args:
        result, hr: uint8 [H, W, 3] RGB of the same size, at least 11 + 2 * scale pixels in each direction.
        scale: as many border pixels are left out on each side.

    Raises:
        UserError: the sizes differ, or nothing is left inside the border.
    """
    if result.shape != hr.shape:
        raise UserError(f"cannot compare an image of {_size(result)} with one of {_size(hr)}")
    least = smallest_side(scale)
    if min(hr.shape[:2]) < least:
        raise UserError(f"an image of {_size(hr)} is too small to measure at x{scale}: SSIM needs {least} pixels")
    inside = slice(scale, -scale)
    a, b = luma(result[inside, inside]), luma(hr[inside, inside])
    return Score(_psnr(a, b), _ssim(a, b))


def smallest_side(scale: int) -> int:
    """HR pixels that an image's sides must have to be measured."""
    return _WINDOW + 2 * scale


def luma(image: np.ndarray) -> np.ndarray:
    """BT.601 Y in [16, 235], fp64 and unrounded, [H, W], of uint8 [H, W, 3] RGB."""
    return image @ (np.array([65.481, 128.553, 24.966]) / 255) + 16


def to_uint8(image: Tensor) -> np.ndarray:
    """[3, H, W] or [1, 3, H, W] in [0, 1] to uint8 [H, W, 3]: clamped, then rounded."""
    image = image.squeeze(0) if image.ndim == 4 else image
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


def super_resolve(network: Network, lr: np.ndarray) -> np.ndarray:
    """Run a network on one image: uint8 [H, W, 3] to uint8 [S * H, S * W, 3].

    Args:
        network: [1, 3, H, W] fp32 in [0, 1] on the CPU to [1, 3, S * H, S * W], such as an
            :class:`awsrn_fast.inference.Placed`.
        lr: the image.
    """
    return to_uint8(network(torch.tensor(lr, dtype=torch.float32, device="cpu").permute(2, 0, 1)[None] / 255))


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a - b) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    total, rows = 0.0, 64
    count = a.shape[0] - _WINDOW + 1
    for top in range(0, count, rows):  # in strips, so that the five maps stay in the processor's cache
        strip = slice(top, min(top + rows, count) + _WINDOW - 1)
        total += float(_ssim_map(a[strip], b[strip]).sum())
    return total / (count * (a.shape[1] - _WINDOW + 1))


def _ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    mean_a, mean_b, squares, product = _gaussian(np.stack([a, b, a * a + b * b, a * b]))
    means, mean_squares = mean_a * mean_b, mean_a**2 + mean_b**2
    similarity = (2 * means + _C1) * (2 * (product - means) + _C2)
    return similarity / ((mean_squares + _C1) * (squares - mean_squares + _C2))


def _gaussian(maps: np.ndarray) -> np.ndarray:
    """The 11x11 window over [N, H, W], 'valid', as two passes; its weights are symmetric, so taps are paired."""
    weights = np.exp(-0.5 * ((np.arange(_WINDOW) - _WINDOW // 2) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        size = maps.shape[axis] - _WINDOW + 1
        tap = [maps[:, k : k + size] if axis == 1 else maps[:, :, k : k + size] for k in range(_WINDOW)]
        out = weights[_WINDOW // 2] * tap[_WINDOW // 2]
        for k in range(_WINDOW // 2):
            out += weights[k] * (tap[k] + tap[-1 - k])
        maps = out
    return maps


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
