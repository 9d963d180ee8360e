"""Protocols for networks and images, implemented in other packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from awsrn_fast.nn import Gates, Part


class Facts(Protocol):
    """Properties of a network that tiling depends on, see :class:`awsrn_fast.models.Facts`."""

    scale: int
    receptive_field: int
    block: int | None
    halo: int
    activations: int


class Network(Protocol):
    """A network whose forward is data."""

    facts: Facts
    scale: int
    channels: int
    mean: Tensor
    out_dtype: torch.dtype | None

    def __call__(self, x: Tensor, gates: Gates = ...) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``, with external gates if given."""

    def parts(self) -> list[Part]:
        """The stages of the forward; the last part is the reconstruction alone."""


class Source(Protocol):
    """An RGB image that is read in parts."""

    height: int
    width: int

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Pixels [top, bottom) x [left, right), fp32 ``[1, 3, h, w]`` on the CPU; cheapest from top to bottom."""


class Pixels(Protocol):
    """An image that is read in parts."""

    height: int
    width: int
    planes: int
    """1 gray or 3 RGB, and one more for alpha, which is last."""

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """float32 ``[bottom - top, right - left, planes]`` in [0, 1]."""


class Enlarger(Protocol):
    """The network with its options, as the fields' packages use it, see :mod:`awsrn_fast.upscale.enlarger`."""

    settings: Any
    scale: int
    identity: str
    remarks: tuple[str, ...]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result. Raises RunError where the network makes no such size."""

    def rows(self, pixels: Pixels, held: int = 0, steps: int | None = None) -> Iterator[np.ndarray]:
        """The enlarged picture from top to bottom, float32 ``[rows, W, planes]``, neither clipped nor rounded."""
