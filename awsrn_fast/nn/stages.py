"""A network's forward as data: stages, one after another, that every way of running it interprets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .attention import ChannelAttention, NonLocal


class Stage(NamedTuple):
    """One layer: maps of one size in, one map out, scaled by a gate from the means of maps where it has one.

    Stages come in parts. The maps of a part are numbered: 0 is what the part gets, i the output of its stage i - 1. The
    output of its last stage is what the next part gets; the first part gets the image.

    Attributes:
        function: ``f(*maps, gate)`` -> output and its mean ``[N, C]`` (None: not computed on the way). The gate is None
            without ``attention``, else ``[N, C]``, or ``[N, C, H, W]`` with one for each position.
        reads: numbers of the maps that it reads.
        reach: how far an output pixel sees, in input pixels, by convolutions.
        attention: what makes the gate of the means.
        pools: numbers of the maps whose means, concatenated, the gate is made of.
        name: of the attention in the network.
        reads_image: whether the image follows the maps.
        non_local: the attention over positions that the stage is, which reaches farther: its span.
    """

    function: Callable[..., tuple[Tensor, Tensor | None]]
    reads: tuple[int, ...] = (0,)
    reach: int = 0
    attention: ChannelAttention | None = None
    pools: tuple[int, ...] = ()
    name: str = ""
    reads_image: bool = False
    non_local: NonLocal | None = None

    def gate(self, means: Tensor) -> Tensor:
        """The gate that the stage's attention makes of the means ``[N, C]`` of the maps that it pools."""
        assert self.attention is not None
        return self.attention(means)


Part = Sequence[Stage]
Gates = Callable[[Stage, list[Tensor], list["Tensor | None"]], Tensor]
"""The gate of a stage, from the maps of its part and their means (None: not computed yet)."""


def pooled_means(stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
    """The means ``[N, C]`` that a stage's gate is made of."""
    found = []
    for i in stage.pools:
        mean = means[i]
        found.append(maps[i].mean(dim=(2, 3)) if mean is None else mean)
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def pooled_gates(stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
    """The gate ``[N, C]`` from the means over whole maps, as in training."""
    return stage.gate(pooled_means(stage, maps, means))


def run(
    part: Part, x: Tensor, mean: Tensor | None = None, gates: Gates = pooled_gates, image: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """All stages of a part on whole maps.

    Args:
        part: which.
        x: map 0, ``[N, C, H, W]``; mean: its mean ``[N, C]`` where that is known.
        gates: how gates are found.
        image: for stages that read it.

    Returns:
        The last stage's output and its mean.
    """
    maps, means = [x], [mean]
    for stage in part:
        seen = [maps[i] for i in stage.reads]
        if stage.reads_image:
            assert image is not None
            seen.append(image)
        gate = None if stage.attention is None else gates(stage, maps, means)
        y, mean = stage.function(*seen, gate)
        maps.append(y)
        means.append(mean)
    return maps[-1], means[-1]
