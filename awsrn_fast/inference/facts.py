"""Facts about a network in one frozen object: sizes, cost, how far it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Facts:
    """Attributes:
    variant: name such as "improved-s", or "custom" with other sizes.
    scale: upscaling factor.
    channels: feature channels C.
    parameters: numbers in the state dict, gains of the weight norm counted; the fused form has fewer.
    mult_adds: of one 1280x720 output, counted as the literature does: every branch of the reconstruction by
        itself, convolutions and matrix products only.
    mult_adds_merged: the same with the branches merged, as this package computes them.
    receptive_field: side, in input pixels, of the square that one output pixel depends on through the
        convolutions. The non-local span (block, halo) and the pooled gates reach farther.
    block, halo: span of the non-local fusion; block is None where it is global or absent.
    non_local: whether the network has a non-local fusion.
    activations: bytes that each input pixel takes at the most while the fused network runs in fp32.
    dtypes: arithmetic that it runs in (``dtype`` of ``upscale``); float16 on GPUs alone.
    training: what the weights file says of their training: iterations, data, licence of the data, figures.
    """

    variant: str
    scale: int
    channels: int
    parameters: int
    mult_adds: int
    mult_adds_merged: int
    receptive_field: int
    block: int | None
    halo: int
    non_local: bool
    activations: int
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    training: Mapping[str, Any] = field(default_factory=dict, hash=False)
