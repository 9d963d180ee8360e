"""PSNR of a network on the validation photographs, and the pictures that go with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from awsrn_fast.data import Photos
from awsrn_fast.data.resize import upscale
from awsrn_fast.inference import Placed
from awsrn_fast.metrics import score, super_resolve
from awsrn_fast.models import SuperResolution


@dataclass(frozen=True)
class Validation:
    """Mean PSNR in dB, and the first photograph's pictures by caption."""

    psnr: float
    pictures: dict[str, np.ndarray]


class Validator:
    """Validates networks on the same photographs; bicubic is measured once.

    Args:
        photos: validation photographs.
        scale: upscaling factor.
        device: where to compute; always in fp32, as a user's evaluation does.
    """

    def __init__(self, photos: Photos, scale: int, device: torch.device) -> None:
        self.photos, self.scale, self.device = photos, scale, device
        self._bicubic = [upscale(np.asarray(photo.lr), scale) for photo in photos[:1]]
        others = (upscale(np.asarray(photo.lr), scale) for photo in photos[1:])
        results = [*self._bicubic, *others]
        self.bicubic_each = [self._psnr(i, result) for i, result in enumerate(results)]
        self.bicubic = float(np.mean(self.bicubic_each))

    def __call__(self, model: SuperResolution) -> Validation:
        network = Placed(model.fuse(), self.device)
        psnrs, first = [], None
        for i, photo in enumerate(self.photos):
            result = super_resolve(network, np.asarray(photo.lr))
            psnrs.append(self._psnr(i, result))
            first = result if first is None else first
        lr, hr = np.asarray(self.photos[0].lr), np.asarray(self.photos[0].hr)
        pictures = {
            "LR": lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1),
            f"bicubic {self.bicubic_each[0]:.2f} dB": self._bicubic[0],
            f"{model.facts.variant} {psnrs[0]:.2f} dB": first,
            "HR": hr,
        }
        return Validation(float(np.mean(psnrs)), pictures)

    def _psnr(self, index: int, result: np.ndarray) -> float:
        return score(result, np.asarray(self.photos[index].hr), self.scale).psnr
