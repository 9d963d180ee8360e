"""Adaptive weighted multi-scale reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import ops

from .conv import DIRECTION, FOLDED_INTO_TRAINING, GAIN, Scale, WNConv2d, weight_norm
from .prepared import Prepared


class AWMS(Prepared):
    """Parallel convolutions of several sizes, weighted and summed, then PixelShuffle.

    The branches are linear, so they are computed as one convolution with the kernel ``sum_k alpha_k pad(W_k)``, in
    training too; gradients reach the branches through the merge, which costs next to nothing.

    Args:
        channels: C.
        scale: upscaling factor.
        kernels: odd kernel sizes of the branches; each starts with the weight 1/len(kernels).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, scale: int, kernels: tuple[int, ...] = (3, 5, 7, 9)) -> None:
        super().__init__()
        self.scale, self.kernels = scale, tuple(sorted(kernels))
        for k in self.kernels:
            self.add_module(f"tail_k{k}", WNConv2d(channels, 3 * scale**2, k))
            self.add_module(f"scale_k{k}", Scale(1 / len(kernels)))

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight ``[3 * scale**2, C, K, K]`` and bias of the one convolution that equals all branches."""
        if self.is_folded:
            return self.weight, self.bias
        branches = [(getattr(self, f"tail_k{k}"), getattr(self, f"scale_k{k}").scale) for k in self.kernels]
        return merge([(branch.weight(), branch.bias, alpha) for branch, alpha in branches])

    def fold(self) -> None:
        """Keep the merged convolution alone: same output, no training."""
        if self.is_folded:
            return
        weight, bias = (t.detach() for t in self.merged())
        for k in self.kernels:
            delattr(self, f"tail_k{k}")
            delattr(self, f"scale_k{k}")
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.is_folded = True

    def sources(self) -> tuple[Tensor, ...]:
        return self.merged()[:1]

    def prepare(self, *weights: Tensor) -> Tensor | None:
        return ops.awms.prepare(*weights)

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
        options = (self.scale, out_scale, out_shift, clamp, out_dtype)
        return ops.awms(x, weight, bias, skip, *options, self.prepared_weights())

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Branches are merged on the way into a folded form; the other way they are refused."""
        names = [
            [f"{prefix}tail_k{k}.{name}" for name in (GAIN, DIRECTION, "bias")] + [f"{prefix}scale_k{k}.scale"]
            for k in self.kernels
        ]
        if self.is_folded and all(name in state for branch in names for name in branch):
            parts = [[state.pop(name) for name in branch] for branch in names]
            merged = merge([(weight_norm(gain, direction), bias, alpha) for gain, direction, bias, alpha in parts])
            state[f"{prefix}weight"], state[f"{prefix}bias"] = merged
        elif not self.is_folded and f"{prefix}weight" in state:
            rest[-1].append(f"{prefix}weight: {FOLDED_INTO_TRAINING}")
        super()._load_from_state_dict(state, prefix, *rest)


def merge(branches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution ``sum_k alpha_k pad(W_k)``, from (W_k, bias, alpha_k) by growing k."""
    largest = branches[-1][0].shape[-1]
    weights = [F.pad(alpha * own, ((largest - own.shape[-1]) // 2,) * 4) for own, _, alpha in branches]
    biases = [alpha * bias for _, bias, alpha in branches]
    return reduce(torch.add, weights), reduce(torch.add, biases)
