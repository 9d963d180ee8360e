"""Limits of the kernels, for callers that choose a backend before Triton is imported."""

from __future__ import annotations

import torch

NON_LOCAL_CHANNELS = 64
"""Most channels of a query."""


def dwpw_attention_channels(dtype: torch.dtype) -> int:
    """Most channels of x and of the output; with more, the backward pass would spill registers."""
    return 32 if dtype == torch.float32 else 64
