"""Sampling of patches as a pure function of seed, iteration and index, so that workers are stateless.

FASS (cf. SamplingAug, arXiv 2111.15185): a fraction of the patches is drawn from those where bicubic upsampling has the
largest error, since most of a photograph is smooth and contributes little to training.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from awsrn_fast.errors import UserError

from .cache import WORKERS, Photo, Photos, stored
from .degrade import Degradation, make_lr
from .resize import upscale

_LUMA = np.array([65.481, 128.553, 24.966], np.float32) / 255


@dataclass(frozen=True)
class Patch:
    """Location of a training pair in LR pixels, and its augmentation."""

    photo: int
    top: int
    left: int
    size: int
    flip: bool
    turns: int
    """Quarter turns, after the flip."""


@dataclass(frozen=True)
class _Bucket:
    """The photos whose patches have one size."""

    size: int
    photos: np.ndarray
    area_below: np.ndarray
    """Cumulative LR pixels of ``photos``."""
    hard: np.ndarray
    """int [K, 3]: photo, top and left of the hardest patches of the grid."""


class PatchSampler:
    """Sampler of training pairs from photos.

    Args:
        photos: the images to sample.
        seed: whole number >= 0.
        fass_fraction: fraction of patches drawn from the hardest ones; 0 turns FASS off.
        hardest: fraction of the patch grid (stride half a patch) that counts as hard: those with the lowest PSNR of
            bicubic upsampling on Y.
        augment: random flips and rotations by 90 degrees.
        degradation: applied to each patch with fresh random values; None or bicubic alone: LR is cropped from the
            photos' LR.
    """

    def __init__(
        self,
        photos: Photos,
        seed: int,
        *,
        fass_fraction: float = 0.5,
        hardest: float = 0.25,
        augment: bool = True,
        degradation: Degradation | None = None,
    ) -> None:
        if not 0 <= fass_fraction <= 1 or not 0 < hardest <= 1:
            raise UserError(f"FASS takes parts from 0 to 1, got fraction {fass_fraction} and hardest {hardest}")
        if seed < 0:
            raise UserError(f"seed must be a whole number >= 0, got {seed}")
        self.photos, self.seed = photos, seed
        self.fass_fraction, self.hardest, self.augment = fass_fraction, hardest, augment
        self.degradation = None if degradation == Degradation() else degradation
        self._sizes = np.array([photo.lr.shape[:2] for photo in photos])
        self._buckets: dict[int, list[_Bucket]] = {}
        if fass_fraction:
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(self._error_integral, range(len(photos))))

    def batch(self, iteration: int, patch: int, batch_size: int, first: int = 0) -> tuple[Tensor, Tensor]:
        """The pairs of one iteration.

        Args:
            iteration: counted from 0.
            patch: LR side. A photo smaller than this is used at its largest square; all patches of a batch have one
                size, so such photos come in batches of their own, as often as their area says.
            batch_size: number of pairs.
            first: index of the first pair, where several processes share a batch.

        Returns:
            ``(lr, hr)``: uint8 [B, 3, P, P] and [B, 3, S * P, S * P], channels last in memory.
        """
        places = [self.place(iteration, index, patch) for index in range(first, first + batch_size)]
        pairs = [self._pair(place, iteration, first + i) for i, place in enumerate(places)]
        lr, hr = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) for images in zip(*pairs, strict=True))
        return lr, hr

    def place(self, iteration: int, index: int, patch: int) -> Patch:
        """Patch ``index`` of an iteration."""
        buckets = self._of_size(patch)
        areas = np.cumsum([bucket.area_below[-1] for bucket in buckets])
        # Stream 0 belongs to the batch, so that all its patches come from one bucket.
        bucket = buckets[_pick(areas, self._generator(iteration, 0))]
        generator = self._generator(iteration, index + 1)
        if generator.random() < self.fass_fraction:
            photo, top, left = bucket.hard[generator.integers(len(bucket.hard))]
        else:
            photo = bucket.photos[_pick(bucket.area_below, generator)]
            top, left = generator.integers(self._sizes[photo] - bucket.size + 1)
        flip, turns = (bool(generator.integers(2)), int(generator.integers(4))) if self.augment else (False, 0)
        return Patch(int(photo), int(top), int(left), bucket.size, flip, turns)

    def _pair(self, place: Patch, iteration: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        photo, scale = self.photos[place.photo], self.photos.scale
        hr = _turned(_part(photo.hr, place.top, place.left, place.size, scale), place)
        if self.degradation is None:
            return _turned(_part(photo.lr, place.top, place.left, place.size, 1), place), hr
        # With a margin: blur and resampling read beyond the patch's border.
        reach = self.degradation.reach(scale)
        top, left = max(0, place.top - reach), max(0, place.left - reach)
        bottom, right = (scale * (start + place.size + reach) for start in (place.top, place.left))
        around = np.ascontiguousarray(photo.hr[scale * top : bottom, scale * left : right])
        lr = make_lr(around, scale, self.degradation, self._generator(iteration, index, 1))
        return _turned(_part(lr, place.top - top, place.left - left, place.size, 1), place), hr

    def _generator(self, iteration: int, stream: int, use: int = 0) -> np.random.Generator:
        # Philox increments the counter's first word; the higher words give disjoint streams.
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, use, stream, iteration]))

    def _of_size(self, patch: int) -> list[_Bucket]:
        if patch not in self._buckets:
            sides = np.minimum(self._sizes.min(1), patch)
            self._buckets[patch] = [self._bucket(int(side), np.flatnonzero(sides == side)) for side in np.unique(sides)]
        return self._buckets[patch]

    def _bucket(self, size: int, photos: np.ndarray) -> _Bucket:
        hard = self._hard(size, photos) if self.fass_fraction else np.empty((0, 3), int)
        return _Bucket(size, photos, np.cumsum(self._sizes[photos].prod(1)), hard)

    def _hard(self, size: int, photos: np.ndarray) -> np.ndarray:
        places, errors = [], []
        for photo in photos:
            tops, lefts = (_grid(side, size) for side in self._sizes[photo])
            integral = self._error_integral(photo)
            corners = [integral[np.ix_(y, x)] for y in (tops, tops + size) for x in (lefts, lefts + size)]
            errors.append((corners[3] - corners[2] - corners[1] + corners[0]).ravel())
            top, left = np.meshgrid(tops, lefts, indexing="ij")
            places.append(np.stack([np.full(top.size, photo), top.ravel(), left.ravel()], 1))
        error = np.concatenate(errors)
        worst = np.argsort(-error, kind="stable")[: ceil(self.hardest * len(error))]
        return np.concatenate(places)[worst]

    def _error_integral(self, photo: int) -> np.ndarray:
        name = "bicubic-error"
        return stored(self.photos.beside(photo, name), lambda: _integral(self.photos[photo], self.photos.scale))


def _integral(photo: Photo, scale: int) -> np.ndarray:
    """fp64 [h + 1, w + 1]: squared error of bicubic upsampling on Y, summed over all LR pixels above and left."""
    difference = (upscale(photo.lr, scale).astype(np.float32) - photo.hr) @ _LUMA
    height, width = photo.lr.shape[:2]
    per_pixel = (difference**2).reshape(height, scale, width, scale).sum((1, 3), dtype=np.float64)
    return np.pad(per_pixel.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _grid(side: int, size: int) -> np.ndarray:
    """Start positions with a stride of half a patch, the last patch flush with the end."""
    return np.unique(np.append(np.arange(0, side - size + 1, max(size // 2, 1)), side - size))


def _pick(cumulative: np.ndarray, generator: np.random.Generator) -> int:
    """An index drawn with probability proportional to its weight."""
    return int(np.searchsorted(cumulative, generator.integers(cumulative[-1]), side="right"))


def _part(image: np.ndarray, top: int, left: int, size: int, scale: int) -> np.ndarray:
    return image[scale * top : scale * (top + size), scale * left : scale * (left + size)]


def _turned(part: np.ndarray, patch: Patch) -> np.ndarray:
    return np.rot90(part[:, ::-1] if patch.flip else part, patch.turns)
