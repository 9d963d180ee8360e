"""Perceptual loss: distance of two images in VGG19's features (eq. 13)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .vgg import VGG19Features

Norm = Literal["l2", "l1"]


class PerceptualLoss(nn.Module):
    """``sum over layers of ||phi(output) - phi(target)|| / (C H W)``, mean over the batch.

    Args:
        features: phi.
        norm: "l2", the squared L2 norm of eq. 13, or "l1", ESRGAN's.
    """

    def __init__(self, features: VGG19Features, norm: Norm = "l2") -> None:
        super().__init__()
        if norm not in ("l2", "l1"):
            raise ValueError(f"PerceptualLoss: norm must be 'l2' or 'l1', got {norm!r}")
        self.features, self.norm = features, norm

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of ``output`` against ``target``, both ``[N, 3, H, W]``, RGB in [0, 1]; only ``output`` gets gradients.

        The differences are taken in fp32 or wider, whatever autocast computes the features in.
        """
        if output.shape != target.shape:
            raise ValueError(f"PerceptualLoss: output is {list(output.shape)} and target {list(target.shape)}")
        with torch.no_grad():
            wanted = self.features(target)
        total = torch.zeros((), dtype=torch.float32, device=output.device)
        for name, found in self.features(output).items():
            wide = torch.promote_types(found.dtype, torch.float32)
            difference = found.to(wide) - wanted[name].to(wide)
            # One size for the whole batch: the mean over everything is the batch mean of sums / (C H W).
            total = total + (difference.square() if self.norm == "l2" else difference.abs()).mean()
        return total
