"""Gates from the means around each pixel instead of the whole image's (TLC, Chu et al., ECCV 2022).

The improved network learns its gates on patches of 32 to 64 pixels and then meets whole images, whose means say other
things. Here every position has gates of its own, from a window as large as such a patch. Nothing is trained for it, and
since no gate depends on the whole image any more, tiles need no gates from elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops
from awsrn_fast.nn import AWRU, LFB, LRFU, ChannelAttention

from .gates import pooled, sharing

if TYPE_CHECKING:
    from awsrn_fast.models import SuperResolution

SIDE = 48
"""Side of the window in input pixels."""


def with_local_means(network: SuperResolution, side: int = SIDE) -> nn.Module:
    """``network`` with gates from local means, sharing all weights; the network itself if it has no such gates.

    Args:
        network: best in its fused form.
        side: of the window; an image that is no larger gives the network's own result.
    """
    return LocalMeans(network, side) if pooled(network) else network


def local_means(x: Tensor, side: int) -> Tensor:
    """``[N, C, H, W]`` -> the same shape: means over the window around each position, at borders shifted inward."""
    down, across = (min(side, length) for length in x.shape[2:])
    means = F.avg_pool2d(F.avg_pool2d(x, (down, 1), 1), (1, across), 1)
    margins = across // 2, (across - 1) // 2, down // 2, (down - 1) // 2
    return F.pad(means, margins, mode="replicate")


class LocalGate(nn.Module):
    """In place of a ChannelAttention: gates ``[N, C, H, W]`` of a map ``[N, C, H, W]``."""

    def __init__(self, attention: ChannelAttention, side: int) -> None:
        super().__init__()
        self.squeeze, self.excite, self.side = attention.squeeze, attention.excite, side

    def forward(self, x: Tensor) -> Tensor:
        means = local_means(x, self.side).permute(0, 2, 3, 1)  # [N, H, W, C]
        squeeze, excite = self.squeeze, self.excite
        gates = ops.channel_attention(means.flatten(0, 2), squeeze.weight, squeeze.bias, excite.weight, excite.bias)
        return gates.view(means.shape).permute(0, 3, 1, 2)


class LocalMeans(nn.Module):
    """See :func:`with_local_means`. Like the network, with ``facts`` that say how far it sees and what it takes."""

    def __init__(self, network: SuperResolution, side: int) -> None:
        super().__init__()
        gates = pooled(network)
        self.network = sharing(network, {name: LocalGate(module, side) for name, module in gates.items()})
        facts, hyper = network.facts, network.hyper
        # Half a window a layer, and as much again where windows are shifted inward.
        reach = side // 2 * (len(gates) + 1)
        floats = 3 + 2 * hyper["wide"] + 32 * network.channels
        self.facts = replace(
            facts,
            receptive_field=facts.receptive_field + 2 * reach,
            activations=max(facts.activations, 4 * floats),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``."""
        network = self.network
        x = 2 * (x - network.mean[:, None, None])
        features = network.attention(network.head["0"](x))
        for block in network.body:
            features = _block(block, features)
        features = network.non_local(features)
        features = features * network.channel_attention(features)
        return network.tail(features, network.skip["0"](x), 0.5, network.mean, network.clamp)


def _block(block: LFB, x: Tensor) -> Tensor:
    level, levels = x, []
    for index in range(block.units):
        level = _unit(getattr(block, f"b{index}"), level)
        levels.append(level)
    fusion = block.reduction
    if isinstance(fusion, LRFU):
        fused = fusion.weighted(levels, 2 * fusion.focus(torch.cat(levels, dim=1)))
    else:
        fused = fusion(levels, [])
    return block.x_scale.scale * x + block.res_scale.scale * fused


def _unit(unit: AWRU, x: Tensor) -> Tensor:
    f = unit.body["2"](F.relu(unit.body["0"](x)))
    gate = unit.gate(x if unit.gap == "input" else f)
    return unit.x_scale.scale * x + unit.res_scale.scale * gate * f
