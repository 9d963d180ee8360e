"""Inference on pictures: on a device, in tiles with gates of the whole image, averaged over flips and turns."""

from __future__ import annotations

from .local import with_local_means
from .protocols import Source
from .tiling import Deviation, Tensors, Tiler
from .wrappers import Placed, SelfEnsemble, exact_context

__all__ = ["Deviation", "Placed", "SelfEnsemble", "Source", "Tensors", "Tiler", "exact_context",
           "with_local_means"]  # fmt: skip
