"""Inference on images: device placement, tiling with whole-image gates, self-ensemble over flips and rotations."""

from __future__ import annotations

from .local import with_local_means
from .protocols import Source
from .tiling import Deviation, Tensors, Tiler
from .wrappers import Placed, SelfEnsemble, exact_context

__all__ = ["Deviation", "Placed", "SelfEnsemble", "Source", "Tensors", "Tiler", "exact_context",
           "with_local_means"]  # fmt: skip
