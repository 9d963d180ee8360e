"""Inference on images: device placement, tiling with whole-image gates, self-ensemble over flips and rotations."""

from __future__ import annotations

from .facts import Facts
from .local import with_local_means
from .protocols import Model, Network, Source
from .tiling import Deviation, Tensors, Tiler
from .wrappers import Placed, SelfEnsemble, exact_context

__all__ = [
    "Deviation",
    "Facts",
    "Model",
    "Network",
    "Placed",
    "SelfEnsemble",
    "Source",
    "Tensors",
    "Tiler",
    "exact_context",
    "with_local_means",
]
