"""Inputs and tolerances that tests and benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

FLOOR = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Allowed error, of the output's rms, on top of twice the same-dtype reference's (flash-attention's rule)."""

TRANSFORMED = 1e-4
"""Allowed error of a transformed algorithm such as Winograd in fp32, of the output's rms."""


@dataclass(frozen=True)
class Case:
    """One call of an op: tensor shapes by argument name (None: the argument is None) and the other arguments."""

    name: str
    shapes: Mapping[str, tuple[int, ...] | None]
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
        """The arguments: normal numbers, weights scaled to keep the variance, drawn in fp64 and then rounded."""
        generator = torch.Generator().manual_seed(seed)
        arguments: dict[str, Any] = {}
        for name, shape in self.shapes.items():
            arguments[name] = None if shape is None else _draw(name, shape, generator).to(device, dtype)
        return arguments | self.options


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    fan_in = prod(shape[1:]) if name.startswith("w") else 1
    return values / fan_in**0.5
