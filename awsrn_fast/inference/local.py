"""Gates from the means around each pixel instead of the whole image's (TLC, Chu et al., ECCV 2022).

The improved network learns its gates on patches of 32 to 64 pixels; means over whole images differ in distribution.
Here every position has its own gates, from a window of a patch's size. This needs no training, and since no gate
depends on the whole image, tiles need no external gates.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.nn import Gates, Stage

from .gates import Gated, pooled
from .protocols import Model, Network

SIDE = 48
"""Side of the window in input pixels."""


def with_local_means(network: Network, side: int = SIDE) -> Model:
    """``network`` with gates from local means; the network itself if it has no such gates.

    Args:
        network: best in its fused form.
        side: side of the window; an image that is no larger gives the network's own result.
    """
    gates = pooled(network)
    if not gates:
        return network
    facts, hyper = network.facts, network.hyper
    # Half a window per layer, and as much again where windows are shifted inward.
    reach = side // 2 * (len(gates) + 1)
    floats = 3 + 2 * hyper["wide"] + 32 * network.channels
    facts = replace(
        facts,
        receptive_field=facts.receptive_field + 2 * reach,
        activations=max(facts.activations, 4 * floats),
    )
    return Gated(network, local_gates(side), facts)


def local_gates(side: int) -> Gates:
    """Gates ``[N, C, H, W]``, per position from the means over the window around it."""

    def gates(stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
        seen = [maps[i] for i in stage.pools]
        around = local_means(seen[0] if len(seen) == 1 else torch.cat(seen, dim=1), side)
        by_position = around.permute(0, 2, 3, 1)  # [N, H, W, C]
        gate = stage.gate(by_position.flatten(0, 2)).to(around.dtype)
        return gate.view(by_position.shape).permute(0, 3, 1, 2)

    return gates


def local_means(x: Tensor, side: int) -> Tensor:
    """``[N, C, H, W]`` -> the same shape: means over the window around each position, at borders shifted inward."""
    down, across = (min(side, length) for length in x.shape[2:])
    means = F.avg_pool2d(F.avg_pool2d(x, (down, 1), 1), (1, across), 1)
    margins = across // 2, (across - 1) // 2, down // 2, (down - 1) // 2
    return F.pad(means, margins, mode="replicate")
