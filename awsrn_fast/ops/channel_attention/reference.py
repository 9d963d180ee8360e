"""The definition of ``channel_attention`` in plain PyTorch."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.ops._arguments import lowers


def reference(mean: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    with torch.autocast(mean.device.type, enabled=False) if lowers(mean) else nullcontext():  # what is in fp32 stays so
        return torch.sigmoid(F.linear(F.relu(F.linear(mean, w1, b1)), w2, b2))
