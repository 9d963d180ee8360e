"""Self-ensemble: the mean over the eight flips and quarter turns (Timofte et al., CVPR 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfEnsemble(nn.Module):
    """Run ``model`` on the 8 symmetric views of ``x`` and average what they give, each turned back.

    Goes outside a :class:`Tiler`, so that every view is tiled from its own (0, 0), as a whole image would be.
    """

    passes = 8

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.facts = model.facts

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``, fp32."""
        total: Tensor | None = None
        for flip in (False, True):
            seen = x.flip(3) if flip else x
            for turns in range(4):
                y = torch.rot90(self.model(torch.rot90(seen, turns, (2, 3)).contiguous()), -turns, (2, 3)).float()
                y = y.flip(3) if flip else y
                total = y.clone() if total is None else total.add_(y)
        return total.div_(8)
