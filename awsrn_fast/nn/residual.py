"""The body of both networks: adaptive weighted residual units, their fusion, and the local fusion block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops

from .attention import ChannelAttention
from .conv import Scale, WNConv2d
from .prepared import Prepared
from .stages import Stage, run

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

    def forward(self, x: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """``x [N, C, H, W]`` and its mean ``[N, C]``, where known -> the unit's output and its mean."""
        return run(self.stages("gate"), x, mean)

    def stages(self, name: str, at: int = 0) -> list[Stage]:
        """The unit as stages, the first of which reads the map before it.

        Args:
            name: of the unit's gate in the network.
            at: number of that map in the part.
        """
        if self.gate is None:
            return [Stage(self._unit, (at,), 2)]
        if self.gap == "input":
            return [Stage(self._unit, (at,), 2, self.gate, (at,), name)]
        return [
            Stage(self._residual, (at,), 2),
            Stage(self._gated, (at, at + 1), 0, self.gate, (at + 1,), name),
        ]

    def _unit(self, x: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if gate is not None and gate.dim() == 4:
            return self._gated(x, self._residual(x)[0], gate)
        first, second = self._convolutions()
        weights = first.weight(), first.bias, second.weight(), second.bias
        scales = self.x_scale.scale, self.res_scale.scale
        return ops.wide_residual(x, *weights, gate, *scales, self.prepared_weights())

    def _residual(self, x: Tensor, gate: None = None) -> tuple[Tensor, None]:
        return self.body["2"](F.relu(self.body["0"](x))), None

    def _gated(self, x: Tensor, f: Tensor, gate: Tensor) -> tuple[Tensor, Tensor | None]:
        x_scale, res_scale = self.x_scale.scale, self.res_scale.scale
        if gate.dim() == 4:
            return x_scale * x + res_scale * gate * f, None
        return ops.gated_residual(x, f, gate, x_scale, res_scale)

    def fold(self) -> None:
        """Fold both convolutions: same output, no training."""
        for conv in self._convolutions():
            conv.fold()
        self.is_folded = True

    def sources(self) -> tuple[Tensor, ...]:
        first, second = self._convolutions()
        return first.weight(), second.weight()

    def prepare(self, *weights: Tensor) -> Tensor | None:
        return ops.wide_residual.prepare(*weights)

    def _convolutions(self) -> tuple[WNConv2d, WNConv2d]:
        return cast("WNConv2d", self.body["0"]), cast("WNConv2d", self.body["2"])


class ConcatLRFU(WNConv2d):
    """The baseline's local residual fusion: all levels concatenated, one 3x3 convolution back to C."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__(levels * channels, channels, 3)

    def forward(self, *levels: Tensor) -> Tensor:
        """Levels ``[N, C, H, W]`` each -> ``[N, C, H, W]``."""
        return super().forward(*(levels if len(levels) <= 4 else [torch.cat(levels, dim=1)]))


class PairConv(nn.Conv2d, Prepared):
    """The 1x1 convolution, with bias, of two levels with their gates, and ReLU: ``2 C`` channels to C."""

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels, 1)

    def fold(self) -> None:
        """Take the weights as final: same output, no training."""
        self.is_folded = True

    def sources(self) -> tuple[Tensor, ...]:
        return (self.weight.flatten(1),)

    def prepare(self, *weights: Tensor) -> Tensor | None:
        return ops.gated_pair.prepare(*weights)

    def of_levels(self, x0: Tensor, x1: Tensor, gate: Tensor | None) -> Tensor:
        """Levels ``[N, C, H, W]`` and their gates ``[N, 2C]`` -> ``[N, C, H, W]``."""
        assert self.bias is not None
        return ops.gated_pair(x0, x1, gate, self.weight.flatten(1), self.bias, self.prepared_weights())


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
        self.pairs = nn.ModuleList(PairConv(channels) for _ in range(levels // 2))
        self.fuse = WNConv2d(levels // 2 * channels, channels, 3)

    def forward(self, levels: Sequence[Tensor], gate: Tensor) -> Tensor:
        """Levels ``[N, C, H, W]`` each, and what ``focus`` gives -> ``[N, C, H, W]``.

        The gate is ``[N, levels * C]``, or ``[N, levels * C, H, W]`` with one for each position.
        """
        count, pairs = len(self.pairs), cast("Sequence[PairConv]", self.pairs)
        if gate.dim() == 4:
            levels = [x * g for x, g in zip(levels, (2 * gate).chunk(len(levels), dim=1), strict=True)]
            gates: Sequence[Tensor | None] = [None] * count
        else:
            gates = (2 * gate).chunk(count, dim=1)
        fused = []
        for i, (own, pair) in enumerate(zip(gates, pairs, strict=True)):
            fused.append(pair.of_levels(levels[2 * i], levels[2 * i + 1], own))
        return self.fuse(*(fused if count <= 4 else [torch.cat(fused, dim=1)]))


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

    def forward(self, x: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """``x [N, C, H, W]`` and its mean ``[N, C]``, where known -> the block's output and its mean."""
        return run(self.stages(), x, mean)

    def stages(self, name: str = "") -> list[Stage]:
        """The block as one part; ``name`` is the prefix of its gates' names in the network."""
        stages: list[Stage] = []
        levels = [0]
        for i in range(self.units):
            stages += getattr(self, f"b{i}").stages(f"{name}b{i}.gate", levels[-1])
            levels.append(len(stages))
        focus = getattr(self.reduction, "focus", None)
        pools = () if focus is None else tuple(levels[1:])
        return [*stages, Stage(self._fused, tuple(levels), 1, focus, pools, f"{name}reduction.focus")]

    def _fused(self, x: Tensor, *levels_and_gate: Tensor | None) -> tuple[Tensor, Tensor]:
        *levels, gate = levels_and_gate
        fused = self.reduction(*levels) if gate is None else self.reduction(levels, gate)
        return ops.gated_residual(x, fused, None, self.x_scale.scale, self.res_scale.scale)
