"""What the kernels hold at most, for callers that choose before Triton is imported."""

from __future__ import annotations

import torch

NON_LOCAL_CHANNELS = 64
"""Of a query."""


def dwpw_attention_channels(dtype: torch.dtype) -> int:
    """Of x and of the output: with more, the backward pass would spill registers."""
    return 32 if dtype == torch.float32 else 64
