"""Where and in which precision a network runs, apart from where the picture lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Placed(nn.Module):
    """Run ``model`` on its own device and in ``dtype``, for pictures in fp32 on the CPU.

    Args:
        model: network ``[N, 3, H, W] -> [N, 3, sH, sW]`` with ``facts``.
        device: where to put it.
        dtype: torch.float32, or bfloat16 or float16 through autocast: weights stay fp32, sums too.
    """

    def __init__(self, model: nn.Module, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        super().__init__()
        self.device, self.dtype = torch.device(device), dtype
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.facts = model.facts

    def forward(self, x: Tensor) -> Tensor:
        """``x`` fp32 on the CPU; so is the result."""
        x = x.to(self.device).contiguous(memory_format=torch.channels_last)
        autocast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with torch.no_grad(), autocast:
            return self.model(x).float().cpu()
