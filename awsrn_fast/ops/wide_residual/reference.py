"""The definition of ``wide_residual`` in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.ops._mixed import conv2d
from awsrn_fast.ops.gated_residual import gated_residual


def reference(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    prepared: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    wide = F.relu(conv2d(x, w1, b1, padding=1))  # [N, K, H, W]
    return gated_residual.reference(x, conv2d(wide, w2, b2, padding=1), gate, x_scale, res_scale)
