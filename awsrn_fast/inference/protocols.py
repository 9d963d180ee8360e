"""Interfaces of networks and images that inference uses and other packages implement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from awsrn_fast.nn import Part

from .facts import Facts


class Model(nn.Module):
    """A network or a wrapper of one: ``[N, 3, H, W] -> [N, 3, sH, sW]``, with facts."""

    if TYPE_CHECKING:  # networks compute it, wrappers set it

        @property
        def facts(self) -> Facts: ...


class Network(Model):
    """A network whose forward is data; called with ``gates``, it takes its gates from there."""

    scale: int
    channels: int
    hyper: dict[str, Any]
    mean: Tensor
    out_dtype: torch.dtype | None

    def parts(self) -> list[Part]:
        """The stages of the forward; the last part is the reconstruction alone."""
        raise NotImplementedError


class Source(Protocol):
    """An RGB image that is read in parts."""

    height: int
    width: int

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Pixels [top, bottom) x [left, right), fp32 ``[1, 3, h, w]`` on the CPU; cheapest from top to bottom."""


class Pixels(Protocol):
    """An image that is read in parts."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def planes(self) -> int:
        """1 gray or 3 RGB, and one more for alpha, which is last."""

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """float32 ``[bottom - top, right - left, planes]`` in [0, 1]."""


class Enlarger(Protocol):
    """The network with its options, as the fields' packages use it, see :mod:`awsrn_fast.upscale.enlarger`."""

    settings: Any
    scale: int
    parts: int
    identity: str
    remarks: tuple[str, ...]

    def advance(self, pixels: float, /) -> None:
        """Count pixels of the input as done."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result. Raises RunError where the network makes no such size."""

    def rows(self, pixels: Pixels, held: int = 0, steps: int | None = None) -> Iterator[np.ndarray]:
        """The enlarged picture from top to bottom, float32 ``[rows, W, planes]``, neither clipped nor rounded."""
