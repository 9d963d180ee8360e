"""The GPU of a launch."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Gpu(NamedTuple):
    """A GPU's name as reported by the driver, and architecture: sm_80, gfx942; empty if neither."""

    name: str
    arch: str


def gpu(x: Tensor) -> Gpu:
    """The GPU of a tensor."""
    return _gpu(x.device)


@cache
def _gpu(device: torch.device) -> Gpu:
    if device.type != "cuda":
        return Gpu(device.type, "")
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip is not None:
        return Gpu(properties.name, properties.gcnArchName.partition(":")[0])
    return Gpu(properties.name, f"sm_{properties.major}{properties.minor}")
