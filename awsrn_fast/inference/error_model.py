"""Estimate of each pixel's absolute error, from what can be seen in the input and in the result.

A linear regression of the error's logarithm on the logarithms of local features: gradients and contrast of the result,
its distance from bicubic, its residual (what the forward model makes of it, less the input), and contrast of the input.
It is fitted on photographs that the network was not trained on, and calibrated there: the mean estimate is the mean
error, and 90 % of the errors are below the estimate times :attr:`ErrorModel.interval`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from awsrn_fast.errors import UserError

from .forward_model import forward_model

REACH = 8
"""Radius, in pixels of the input, of what an estimate depends on, at x2; less at larger scales."""
FEATURES = (
    *(f"gradient {radius}" for radius in (1, 3, 7)),
    *(f"detail {radius}" for radius in (1, 3)),
    *(f"contrast {radius}" for radius in (2, 5)),
    *(f"off bicubic {radius}" for radius in (0, 2, 6)),
    "residual",
    *(f"input contrast {radius}" for radius in (1, 3)),
    "input detail",
)
"""Names, each with the radius of its square window: in pixels of the result, or of the input where it says so."""
_FLOOR = 0.3
"""Gray levels that are added to a feature before its logarithm."""
_MOST = 255.0


@dataclass(frozen=True)
class ErrorModel:
    """A fitted estimate.

    Attributes:
        coefficients: of a constant and of each of :data:`FEATURES`; the estimate's logarithm is their sum.
        interval: 90 % of the errors are at most this many times the estimate.
        weights: name of the weights that it was fitted for.
    """

    coefficients: tuple[float, ...]
    interval: float
    weights: str

    def __call__(self, x: Tensor, y: Tensor, scale: int) -> Tensor:
        """The expected absolute error, mean of the three channels, in gray levels of 255, ``[N, 1, sH, sW]``.

        Args:
            x: input ``[N, 3, H, W]`` in [0, 1].
            y: result ``[N, 3, sH, sW]``.
            scale: s.
        """
        logarithm = torch.full_like(y[:, :1], self.coefficients[0])
        for weight, feature in zip(self.coefficients[1:], features(x, y, scale), strict=True):
            logarithm += weight * feature
        return logarithm.exp_().clamp_(0, _MOST)


def read_error_model(path: Path) -> ErrorModel:
    """The model in a JSON file.

    Raises:
        UserError: it cannot be read, or has other features.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = [content["coefficients"][name] for name in ("constant", *FEATURES)]
        return ErrorModel(tuple(map(float, found)), float(content["interval"]), str(content["weights"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read the error model {path}: {error}") from error


def features(x: Tensor, y: Tensor, scale: int) -> list[Tensor]:
    """The logarithms of :data:`FEATURES`, each ``[N, 1, sH, sW]``; arguments as of :class:`ErrorModel`."""
    y = y.clamp(0, 1)
    gray, seen = y.mean(1, keepdim=True), x.mean(1, keepdim=True)
    down = F.pad((gray[:, :, 1:] - gray[:, :, :-1]).abs(), (0, 0, 0, 1))
    across = F.pad((gray[..., 1:] - gray[..., :-1]).abs(), (0, 1))
    detail = (gray - _mean(gray, 1)).abs()
    plain = F.interpolate(x, scale_factor=scale, mode="bicubic").clamp_(0, 1)
    off = (y - plain).abs().mean(1, keepdim=True)
    residual = (x - forward_model("bicubic", scale).shrunk(y)).abs().mean(1, keepdim=True)

    def large(small: Tensor) -> Tensor:
        return F.interpolate(small, scale_factor=scale, mode="bilinear")

    found = [
        *(_mean(down + across, radius) for radius in (1, 3, 7)),
        *(_mean(detail, radius) for radius in (1, 3)),
        *(_deviation(gray, radius) for radius in (2, 5)),
        *(_mean(off, radius) for radius in (0, 2, 6)),
        large(_mean(residual, 1)),
        *(large(_deviation(seen, radius)) for radius in (1, 3)),
        large(_mean((seen - _mean(seen, 1)).abs(), 1)),
    ]
    return [(255 * each + _FLOOR).log_() for each in found]


def _mean(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1) if radius else x


def _deviation(x: Tensor, radius: int) -> Tensor:
    return (_mean(x * x, radius) - _mean(x, radius).square()).clamp_(min=0).sqrt_()
