"""The layout that the kernels for convolutions take."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def in_channels_last(module: M) -> M:
    """``module`` itself, its four-dimensional weights in channels_last."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload that torch lacks
