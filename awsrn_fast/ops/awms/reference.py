"""The definition of ``awms`` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._mixed import conv2d


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float = 1,
    out_shift: Tensor | None = None,
    clamp: bool = False,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    y = conv2d(x, weight, bias, padding=weight.shape[-1] // 2)  # [N, O, H, W]
    y = _pixel_shuffle(y if skip is None else y + skip, scale) * out_scale  # [N, P, scale*H, scale*W]
    if out_shift is not None:
        y = (y + out_shift[:, None, None]).to(y.dtype)
    if out_dtype == torch.uint8:
        y = (y if y.dtype == torch.float64 else y.float()).clamp(0, 1).mul(255).round().to(torch.uint8)
    elif clamp:
        y = y.clamp(0, 1)
    return laid_out_like(y, x)


def _pixel_shuffle(y: Tensor, scale: int) -> Tensor:
    # F.pixel_shuffle's backward fails on an empty batch.
    n, channels, height, width = y.shape
    y = y.reshape(n, channels // scale**2, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, channels // scale**2, height * scale, width * scale)
