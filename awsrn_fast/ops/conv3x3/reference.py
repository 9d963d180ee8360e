"""The definition of ``conv3x3`` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._mixed import conv2d


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None = None,
    x2: Tensor | None = None,
    x3: Tensor | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    maps = [m for m in (x, x1, x2, x3) if m is not None]
    joined = torch.cat(maps, dim=1) if len(maps) > 1 else x
    return laid_out_like(conv2d(joined, weight, bias, padding=1), x)
