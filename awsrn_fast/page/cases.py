"""What a page shows of one image: input, bicubic, results, original, figures and maps of the error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from awsrn_fast.inference.consistency import Residual
from awsrn_fast.inference.forward_model import forward_model
from awsrn_fast.metrics import score

from .build import Layer, Shown

BRIGHTEST = 48
"""Error, in gray levels, from which on a map is white."""


def compared(title: str, lr: np.ndarray, results: Mapping[str, np.ndarray], hr: np.ndarray | None, scale: int) -> Shown:
    """One image of the page.

    Args:
        title: the image's name.
        lr: input, uint8 [H, W, 3].
        results: by title, uint8 [S * H, S * W, 3]; maps show those after the first (bicubic).
        hr: the original of the results' size. With it results have PSNR and SSIM, and maps show their error; without
            it they show the difference from the first result.
        scale: S.
    """
    height, width = lr.shape[:2]
    columns = ("PSNR (dB)", "SSIM", "residual (gray levels)") if hr is not None else ("residual (gray levels)",)
    empty = ("",) * len(columns)
    layers = [Layer(f"input {width}x{height}", lr, empty)]
    maps = []
    first = next(iter(results.values()))
    for name, result in results.items():
        figures: tuple[str, ...] = (f"{_residual(lr, result, scale):.2f}",)
        if hr is not None:
            measured = score(result, hr, scale)
            figures = (f"{measured.psnr:.2f}", f"{measured.ssim:.4f}", *figures)
        layers.append(Layer(name, result, figures))
        if hr is not None:
            maps.append(error_map(f"error of {name}", result, hr))
        elif result is not first:
            maps.append(error_map(f"{name} against {next(iter(results))}", result, first))
    if hr is not None:
        layers.append(Layer("original", hr, empty))
    return Shown(title, (scale * height, scale * width), columns, tuple(layers), tuple(maps))


def error_map(title: str, a: np.ndarray, b: np.ndarray) -> Layer:
    """The largest difference of a pixel's three channels, from black over red and yellow to white."""
    difference = np.abs(a.astype(np.int16) - b).max(axis=2)
    return Layer(title, np.minimum(difference * (255 / BRIGHTEST), 255).astype(np.uint8), palette=heat())


def heat() -> np.ndarray:
    """Palette uint8 [256, 3] from black over red and yellow to white, of even steps."""
    level = np.linspace(0, 3, 256)
    return (255 * np.clip(np.stack([level, level - 1, level - 2], axis=1), 0, 1)).round().astype(np.uint8)


def _residual(lr: np.ndarray, result: np.ndarray, scale: int) -> float:
    """Root mean square of the result, shrunk by MATLAB's bicubic, less the input."""
    x, y = (torch.from_numpy(each.astype(np.float32)).permute(2, 0, 1)[None] / 255 for each in (lr, result))
    residual = Residual()
    residual.add(x - forward_model("bicubic", scale).shrunk(y))
    return residual.rms
