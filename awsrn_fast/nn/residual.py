"""The body of both networks: adaptive weighted residual units, their fusion, and the local fusion block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops

from .attention import ChannelAttention
from .conv import Scale, WNConv2d
from .prepared import Prepared

Gap = Literal["input", "residual"]


class AWRU(Prepared):
    """Adaptive weighted residual unit: ``x_scale * x + res_scale * gate * conv3(relu(conv3(x)))``.

    Args:
        channels: C.
        wide: channels of the map between the two convolutions.
        gate: scale the residual by a gate from the global means (eq. 1-2). The gate starts at one half and res_scale
            at 2, so that the unit starts as the baseline's.
        gap: take the means of the unit's input (the decision) or of the residual (*ablate*).
    """

    def __init__(self, channels: int, wide: int, gate: bool = False, gap: Gap = "input") -> None:
        super().__init__()
        self.gap = gap
        self.body = nn.ModuleDict({"0": WNConv2d(channels, wide, 3), "2": WNConv2d(wide, channels, 3)})
        self.x_scale = Scale(1)
        self.res_scale = Scale(2 if gate else 1)
        self.gate = ChannelAttention(channels, neutral=True) if gate else None

    def forward(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """``x [N, C, H, W]`` and its mean ``[N, C]`` -> the unit's output and its mean."""
        first, second = self.body["0"], self.body["2"]
        scales = self.x_scale.scale, self.res_scale.scale
        if self.gate is not None and self.gap == "residual":
            f = second(F.relu(first(x)))
            return ops.gated_residual(x, f, self.gate(f.mean(dim=(2, 3))), *scales)
        gate = None if self.gate is None else self.gate(mean)
        weights = first.weight(), first.bias, second.weight(), second.bias
        return ops.wide_residual(x, *weights, gate, *scales, self.prepared_weights())

    def fold(self) -> None:
        """Fold both convolutions: same output, no training."""
        for conv in self.body.values():
            conv.fold()
        self.is_folded = True

    def sources(self) -> tuple[Tensor, ...]:
        return self.body["0"].weight(), self.body["2"].weight()

    def prepare(self, w1: Tensor, w2: Tensor) -> Tensor | None:
        return ops.wide_residual.prepare(w1, w2)


class ConcatLRFU(WNConv2d):
    """The baseline's local residual fusion: all levels concatenated, one 3x3 convolution back to C."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__(levels * channels, channels, 3)

    def forward(self, levels: list[Tensor], means: list[Tensor]) -> Tensor:
        return super().forward(*(levels if len(levels) <= 4 else [torch.cat(levels, dim=1)]))


class LRFU(nn.Module):
    """Hierarchical local residual fusion with focus weights.

    Every level and channel has a gate ``2 * sigmoid(...)`` from the means of all levels, 1 at the start. Gated levels
    go two by two through a 1x1 convolution and ReLU to C, then together through a 3x3 convolution to C.

    Args:
        channels: C.
        levels: number of AWRU outputs, even.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        if levels % 2:
            raise ValueError(f"LRFU: levels must be even, they are fused two by two, got {levels}")
        self.focus = ChannelAttention(levels * channels, neutral=True)
        self.pairs = nn.ModuleList(nn.Conv2d(2 * channels, channels, 1) for _ in range(levels // 2))
        self.fuse = WNConv2d(levels // 2 * channels, channels, 3)

    def forward(self, levels: list[Tensor], means: list[Tensor]) -> Tensor:
        """Levels ``[N, C, H, W]`` each, and their means ``[N, C]`` -> ``[N, C, H, W]``."""
        gates = (2 * self.focus(torch.cat(means, dim=1))).chunk(len(self.pairs), dim=1)
        return self._fused(levels, gates)

    def weighted(self, levels: list[Tensor], gates: Tensor) -> Tensor:
        """Levels, and gates of each of their positions ``[N, levels * C, H, W]`` -> ``[N, C, H, W]``."""
        gated = [level * gate for level, gate in zip(levels, gates.chunk(len(levels), dim=1), strict=True)]
        return self._fused(gated, [None] * len(self.pairs))

    def _fused(self, levels: list[Tensor], gates: Sequence[Tensor | None]) -> Tensor:
        pairs = [
            ops.gated_pair(*levels[2 * i : 2 * i + 2], gate, pair.weight.flatten(1), pair.bias)
            for i, (gate, pair) in enumerate(zip(gates, self.pairs, strict=True))
        ]
        return self.fuse(*(pairs if len(pairs) <= 4 else [torch.cat(pairs, dim=1)]))


class LFB(nn.Module):
    """Local fusion block: a chain of AWRU, their outputs fused, ``x_scale * x + res_scale * fused``.

    Args:
        channels, wide: as in :class:`AWRU`.
        units: number of AWRU.
        gate, gap: as in :class:`AWRU`.
        lrfu: "concat" (the baseline's) or "hierarchical".
    """

    def __init__(
        self,
        channels: int,
        wide: int,
        units: int,
        gate: bool = False,
        gap: Gap = "input",
        lrfu: Literal["concat", "hierarchical"] = "concat",
    ) -> None:
        super().__init__()
        self.units = units
        for i in range(units):
            self.add_module(f"b{i}", AWRU(channels, wide, gate, gap))
        self.reduction = (ConcatLRFU if lrfu == "concat" else LRFU)(channels, units)
        self.x_scale = Scale(1)
        self.res_scale = Scale(1)

    def forward(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """``x [N, C, H, W]`` and its mean ``[N, C]`` -> the block's output and its mean."""
        level, levels, means = x, [], [mean]
        for i in range(self.units):
            level, mean = getattr(self, f"b{i}")(level, means[-1])
            levels.append(level)
            means.append(mean)
        fused = self.reduction(levels, means[1:])
        return ops.gated_residual(x, fused, None, self.x_scale.scale, self.res_scale.scale)
