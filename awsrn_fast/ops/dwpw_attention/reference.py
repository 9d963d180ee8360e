"""The definition of ``dwpw_attention`` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._mixed import conv2d


def reference(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None = None,
) -> Tensor:
    depthwise = conv2d(x, w_dw, b_dw, padding=1, groups=x.shape[1])  # [N, C, H, W]
    y = conv2d(depthwise, w_pw[:, :, None, None], b_pw)  # [N, D, H, W]
    gated = torch.sigmoid(conv2d(y, w_a[:, :, None, None], b_a)) * y
    return laid_out_like(gated if residual is None else gated + residual, x)
