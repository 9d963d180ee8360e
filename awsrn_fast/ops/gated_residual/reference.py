"""The definition of ``gated_residual`` in plain PyTorch."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like


def reference(x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor) -> tuple[Tensor, Tensor]:
    factor = res_scale if gate is None else (res_scale * gate)[:, :, None, None]  # [N, C, 1, 1]
    y = laid_out_like((x_scale * x + factor * f).to(x.dtype), x)
    return y, y.mean(dim=(2, 3))
