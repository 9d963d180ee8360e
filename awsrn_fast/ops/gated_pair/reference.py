"""The definition of ``gated_pair`` in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._mixed import conv2d


def reference(
    x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, prepared: Tensor | None = None
) -> Tensor:
    maps = [x0, x1]
    if gate is not None:
        maps = [(x * g).to(x.dtype) for x, g in zip(maps, gate[:, :, None, None].chunk(2, dim=1), strict=True)]
    return laid_out_like(F.relu(conv2d(torch.cat(maps, dim=1), weight[:, :, None, None], bias)), x0)
