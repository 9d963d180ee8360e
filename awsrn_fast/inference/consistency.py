"""Consistency with the measurement: the result, measured again by its forward model, equals the input.

Iterated back-projection (Irani and Peleg, CVGIP 1991): what the measured result lacks is spread onto it by the
forward model's pseudo-inverse. In one round that is the nearest image that is consistent. Values that would leave
[0, 1] are clipped and take more rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .corrections import Own
from .forward_model import INVERSE, ForwardModel, forward_model

ROUNDS = 6
"""Back-projections; after the first only where the residual is beyond rounding, mostly at clipped values."""
_RELAXED = 1.5
"""Step of the later rounds: over-relaxed, as projections onto two sets in turn are slow."""
_FREE = 0.25
"""Least share of the pixels beneath a measured one that counts as free to change."""
_ROUNDING = 0.25
"""Residual, in the file's smallest steps, that counts as none; half a step is lost by rounding the input."""
_FINEST = 2**16 - 1
"""Steps in [0, 1] of samples that are not rounded."""


@dataclass
class Residual:
    """Difference between the input and the measured result, in gray levels of 255."""

    largest: float = 0.0
    squares: float = field(default=0.0, repr=False)
    count: int = field(default=0, repr=False)

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def add(self, difference: Tensor) -> None:
        """Count another part of the image, ``[N, C, h, w]`` in [0, 1]."""
        self.largest = max(self.largest, 255 * difference.abs().max().item())
        self.squares += 255**2 * difference.square().sum(dtype=torch.float64).item()
        self.count += difference.numel()

    def __str__(self) -> str:
        return f"{self.rms:.2f} (at most {self.largest:.1f})"


class Consistency:
    """The correction that makes results consistent with their input; remembers the residual before and after.

    Args:
        model: the forward model.
        top: steps in [0, 1] that the result is rounded to, such as 255; None: it is not rounded.
        rounds: back-projections; None: as many as it takes, up to ``ROUNDS``; 0: only the residual is measured, and
            the result stays as it is.
    """

    def __init__(self, model: ForwardModel, top: int | None = 255, rounds: int | None = None) -> None:
        self.model, self.top = model, top
        self.rounds = ROUNDS if rounds is None else rounds
        self.before, self.after = Residual(), Residual()

    @property
    def reach(self) -> int:
        """Radius, in pixels of the input, of what a corrected pixel and its residual depend on."""
        return self.rounds * (2 * self.model.reach + INVERSE) + self.model.reach

    def __call__(self, x: Tensor, y: Tensor, own: Own) -> Tensor:
        """Corrected ``y [1, C, sH, sW]``, in [0, 1], for the input ``x [1, C, H, W]``; ``own`` is counted."""
        step = _ROUNDING / (self.top or _FINEST)
        plain, y = y, y.clamp(0, 1)
        residual = x - self.model.shrunk(y)
        self.before.add(own.of(residual))
        if not self.rounds:
            return plain
        for number in range(self.rounds):
            # No residual changes nothing, whether or not there is some elsewhere on the tile.
            if number:
                residual = torch.where(residual.abs() <= step, 0, residual)
            if not residual.any():
                break
            if number:
                residual = residual * _RELAXED / self.model.shrunk(self._free(residual, y)).clamp_(_FREE, 1)
            y = y.add_(self.model.spread(residual)).clamp_(0, 1)
            residual = x - self.model.shrunk(y)
        rounded = y if self.top is None else y.mul(self.top).round_().div_(self.top)
        self.after.add(own.of(x - self.model.shrunk(rounded)))
        return y

    def _free(self, residual: Tensor, y: Tensor) -> Tensor:
        """1 where a pixel of ``y`` can change in the residual's direction, 0 where it is at its bound."""
        scale = self.model.scale
        wanted = residual.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        return (((wanted < 0) | (y < 1)) & ((wanted > 0) | (y > 0))).to(y.dtype)

    def __str__(self) -> str:
        return f"residual of {self.model.name} {self.before} gray levels before, {self.after} after"


def consistent(x: Tensor, y: Tensor, scale: int, kernel: str | np.ndarray = "bicubic") -> Tensor:
    """``y``, an upscaled ``x``, changed so that shrinking it gives ``x`` again.

    Args:
        x: input ``[N, C, H, W]``, fp32 in [0, 1] on the CPU.
        y: ``[N, C, scale * H, scale * W]``.
        scale: upscaling factor.
        kernel: how ``x`` was measured, see :func:`~awsrn_fast.inference.forward_model.forward_model`.

    Returns:
        ``[N, C, scale * H, scale * W]`` in [0, 1].

    Raises:
        UserError: an unknown kernel.
    """
    whole = Own(slice(0, x.shape[2]), slice(0, x.shape[3]))
    return Consistency(forward_model(kernel, scale), None)(x, y, whole)
