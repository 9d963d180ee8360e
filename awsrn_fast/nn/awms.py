"""Adaptive weighted multi-scale reconstruction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops

from .conv import Scale, WNConv2d


class AWMS(nn.Module):
    """Parallel convolutions of several sizes, weighted and summed, then PixelShuffle.

    The branches are linear, so they are computed as one convolution with the kernel ``sum_k alpha_k pad(W_k)``, in
    training too; gradients reach the branches through the merge, which costs next to nothing.

    Args:
        channels: C.
        scale: upscaling factor.
        kernels: odd kernel sizes of the branches; each starts with the weight 1/len(kernels).
    """

    def __init__(self, channels: int, scale: int, kernels: tuple[int, ...] = (3, 5, 7, 9)) -> None:
        super().__init__()
        self.scale, self.kernels = scale, tuple(sorted(kernels))
        for k in self.kernels:
            self.add_module(f"tail_k{k}", WNConv2d(channels, 3 * scale**2, k))
            self.add_module(f"scale_k{k}", Scale(1 / len(kernels)))
        self.register_buffer("prepared", None, persistent=False)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight ``[3 * scale**2, C, K, K]`` and bias of the one convolution that equals all branches."""
        if "weight" in self._buffers:
            return self.weight, self.bias
        weight = bias = 0
        for k in self.kernels:
            branch, alpha = getattr(self, f"tail_k{k}"), getattr(self, f"scale_k{k}").scale
            margin = (self.kernels[-1] - k) // 2
            weight = weight + F.pad(alpha * branch.weight(), (margin,) * 4)
            bias = bias + alpha * branch.bias
        return weight, bias

    def fold(self) -> None:
        """Keep the merged convolution alone, also as this machine's kernels take it: same output, no training."""
        weight, bias = (t.detach() for t in self.merged())
        for k in self.kernels:
            delattr(self, f"tail_k{k}")
            delattr(self, f"scale_k{k}")
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("prepared", ops.awms.prepare(weight), persistent=False)

    def forward(
        self,
        x: Tensor,
        skip: Tensor | None,
        out_scale: float = 1,
        out_shift: Tensor | None = None,
        clamp: bool = False,
        out_dtype: torch.dtype | None = None,
    ) -> Tensor:
        """``x [N, C, H, W]``, ``skip [N, 3 * scale**2, H, W]`` -> ``[N, 3, scale*H, scale*W]``."""
        weight, bias = self.merged()
        return ops.awms(x, weight, bias, skip, self.scale, out_scale, out_shift, clamp, out_dtype, self.prepared)
