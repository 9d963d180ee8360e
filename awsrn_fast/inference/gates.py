"""Whole-image channel gates for tiled inference.

The improved network's channel gates are functions of means over the map. A tile that used its own means would be scaled
differently from its neighbours. So gates are computed once and then fixed. Each method is a function that a network's
forward takes as ``gates``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from awsrn_fast.nn import ChannelAttention, Gates, Stage, pooled_means

from .cuda_graph import Graphs
from .facts import Facts
from .protocols import Model, Network
from .spans import Span

Found = dict[str, Tensor]
"""Gates ``[1, C]`` by the name of the attention in the network."""


class Gated(Model):
    """Wrapper of a network with externally computed gates.

    Args:
        network: the network to wrap.
        gates: function that computes its gates.
        facts: where they differ from the network's.
    """

    facts: Facts

    def __init__(self, network: Network, gates: Gates, facts: Facts | None = None) -> None:
        super().__init__()
        self.network, self.gates = network, gates
        self.facts = network.facts if facts is None else facts
        self.out_dtype = getattr(network, "out_dtype", None)

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``."""
        return self.network(x, gates=self.gates)


def pooled(network: Any) -> dict[str, ChannelAttention]:
    """The attentions of a network that pool over the image, by name; empty if the network has no stages."""
    parts = network.parts() if hasattr(network, "parts") else []
    return {stage.name: stage.attention for part in parts for stage in part if stage.attention is not None}


def fixed(found: Found) -> Gates:
    """Gate function that returns constants."""

    def gates(stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
        return found[stage.name].to(maps[0].dtype).expand(maps[0].shape[0], -1)

    return gates


def with_gates(network: Network, found: Found) -> Gated:
    """The network with constant gates."""
    return Gated(network, fixed(found))


def gates_of(network: nn.Module, regions: Tensor) -> Found:
    """Gates from one forward over regions of an image ``[R, 3, h, w]``, with means over all of them."""
    found: Found = {}

    def joint(stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
        gate = stage.gate(pooled_means(stage, maps, means).mean(dim=0, keepdim=True))
        found[stage.name] = gate.float()
        return gate.expand(maps[0].shape[0], -1)

    network(regions, gates=joint)
    return found


@dataclass
class Census:
    """Constant gates that also accumulate the whole image's means, from the tiles' own parts."""

    constants: Found

    def __post_init__(self) -> None:
        self._gates = fixed(self.constants)
        self._sums: Found = {}
        self._tile: Found = {}
        self._own: tuple[slice, slice] | None = None
        self._pixels = 0

    def __call__(self, stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
        if self._own is not None:
            rows, columns = self._own
            own = [maps[i][:, :, rows, columns].sum((0, 2, 3), dtype=torch.float64) for i in stage.pools]
            self._tile[stage.name] = torch.cat(own)
        return self._gates(stage, maps, means)

    def run(self, network: Callable[..., Tensor], x: Tensor, graphs: Graphs | None) -> Tensor:
        """``network(x, gates=self)`` as a graph, whose inputs are the constants, too, and whose results the sums."""
        if graphs is None:
            return network(x, gates=self)
        names, own = list(self.constants), self._own

        def function(x: Tensor, *constants: Tensor) -> tuple[Tensor, ...]:
            census = Census(dict(zip(names, constants, strict=True)))
            census._own = own
            return network(x, gates=census), *(census._tile[name] for name in names if own is not None)

        place = None if own is None else tuple((part.start, part.stop) for part in own)
        y, *sums = graphs((tuple(names), place), function, (x, *self.constants.values()))
        self._tile = dict(zip(names if own is not None else (), sums, strict=True))
        return y

    @contextmanager
    def counting(self, rows: Span, columns: Span) -> Iterator[None]:
        """Context around the run of a tile; a failed one is not counted."""
        self._own, self._tile = (rows.own, columns.own), {}
        try:
            yield
        finally:
            self._own = None
        for name, sums in self._tile.items():
            self._sums[name] = self._sums.get(name, 0) + sums
        self._pixels += (rows.stop - rows.start) * (columns.stop - columns.start)

    def found(self, network: nn.Module) -> Found:
        """The gates that the network's attention computes from the accumulated means."""
        attentions = pooled(network)
        return {
            name: attentions[name]((sums / self._pixels).to(attentions[name].squeeze.weight.dtype)[None]).float()
            for name, sums in self._sums.items()
        }
