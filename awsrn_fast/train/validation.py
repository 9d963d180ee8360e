"""Validation: a network's PSNR on the validation photographs, and sample images."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf

import numpy as np
import torch

from awsrn_fast.data import Photos
from awsrn_fast.data.resize import upscale
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Placed
from awsrn_fast.metrics import score, smallest_side, super_resolve
from awsrn_fast.models import SuperResolution

HIGHEST = 100.0
"""PSNR in dB that replaces infinity in a mean."""


@dataclass(frozen=True)
class Validation:
    """Result of a validation: mean PSNR in dB, and the first photograph's images by caption."""

    psnr: float
    pictures: dict[str, np.ndarray]


class Validator:
    """Validation of networks on a fixed set of photographs; bicubic is measured once.

    Args:
        photos: validation photographs.
        scale: upscaling factor.
        device: where to compute; always in fp32, as in ``evaluate``.

    Attributes:
        remarks: reports on photographs left out: those too small, and those with infinite PSNR because bicubic
            restores them exactly, such as flat ones.

    Raises:
        UserError: none is left.
    """

    def __init__(self, photos: Photos, scale: int, device: torch.device) -> None:
        self.scale, self.device = scale, device
        self.remarks: list[str] = []
        measured: dict[int, float] = {}
        for i, (photo, file) in enumerate(zip(photos, photos.files, strict=True)):
            if min(photo.hr.shape[:2]) < smallest_side(scale):
                self.remarks.append(f"{file}: too small to validate on, left out")
            elif isinf(psnr := score(upscale(np.asarray(photo.lr), scale), np.asarray(photo.hr), scale).psnr):
                self.remarks.append(f"{file}: bicubic restores it exactly, as a flat picture, so it is left out")
            else:
                measured[i] = psnr
        if not measured:
            raise UserError(f"no validation image can be measured ({self.remarks[0]}): give others by --valid")
        self.photos = photos.only(list(measured))
        self.bicubic_each = list(measured.values())
        self.bicubic = float(np.mean(self.bicubic_each))
        self._bicubic = upscale(np.asarray(self.photos[0].lr), scale)

    def __call__(self, model: SuperResolution) -> Validation:
        # The memory that was planned for is what launches take.
        network = Placed(model.fuse(), self.device, graphs=False)
        psnrs, first = [], None
        for i, photo in enumerate(self.photos):
            result = super_resolve(network, np.asarray(photo.lr))
            psnrs.append(self._psnr(i, result))
            first = result if first is None else first
        assert first is not None
        lr, hr = np.asarray(self.photos[0].lr), np.asarray(self.photos[0].hr)
        pictures = {
            "LR": lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1),
            f"bicubic {self.bicubic_each[0]:.2f} dB": self._bicubic,
            f"{model.facts.variant} {psnrs[0]:.2f} dB": first,
            "HR": hr,
        }
        return Validation(float(np.mean(psnrs)), pictures)

    def _psnr(self, index: int, result: np.ndarray) -> float:
        return min(score(result, np.asarray(self.photos[index].hr), self.scale).psnr, HIGHEST)
