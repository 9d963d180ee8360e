"""The images of an evaluation on which a network is worst, as a page."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from awsrn_fast.data import upscale
from awsrn_fast.page import compared, write_page

MOST = 24
"""Images of a page: each takes about a megabyte as lossless pictures."""


class Worst:
    """Page of the images with the lowest PSNR, lowest first.

    Args:
        weights: name of what is measured.
        scale: upscaling factor.
        most: images that the page holds.
    """

    def __init__(self, weights: str, scale: int, most: int = MOST) -> None:
        self.weights, self.scale, self.most, self.seen = weights, scale, most, 0
        self._images: list[tuple[float, dict[str, Any]]] = []

    def add(self, name: str, lr: np.ndarray, hr: np.ndarray, pictures: dict[str, np.ndarray], psnr: float) -> None:
        """Count one image.

        Args:
            name: of set and image.
            lr: input, uint8 [H, W, 3].
            hr: original, uint8 [S * H, S * W, 3].
            pictures: results by the endings of their sets' names.
            psnr: of the first result, dB.
        """
        self.seen += 1
        if len(self._images) == self.most and psnr >= self._images[-1][0]:
            return
        results = {"bicubic": upscale(lr, self.scale)}
        results |= {f"{self.weights}{ending}": picture for ending, picture in pictures.items()}
        shown = compared(f"{name}, {psnr:.2f} dB", lr, results, hr, self.scale)
        self._images.append((psnr, shown.encoded()))
        self._images = sorted(self._images, key=lambda each: each[0])[: self.most]

    def write(self, path: str | os.PathLike) -> int:
        """Write the page; returns its number of images. Without any there is no page."""
        if self._images:
            images = [image for _, image in self._images]
            note = f"The {len(images)} images with the lowest PSNR of {self.seen}, lowest first."
            write_page(path, f"{self.weights}, x{self.scale}", images, note)
        return len(self._images)
