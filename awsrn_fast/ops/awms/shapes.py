"""Common parts of the backends of ``awms``: the output, and the limit of the kernel's side."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.backends import Call
from awsrn_fast.ops._arguments import memory_format

MOST_TAPS = 9
"""Of the weight, down and across, that the kernels for CPU and CUDA have."""


def output(x: Tensor, weight: Tensor, scale: int, out_dtype: torch.dtype | None) -> Tensor:
    """Memory for ``y``."""
    n, _, h, w = x.shape
    shape = (n, weight.shape[0] // scale**2, scale * h, scale * w)
    return torch.empty(shape, dtype=out_dtype or x.dtype, device=x.device, memory_format=memory_format(x))


def too_wide(call: Call) -> list[str]:
    """Reasons against the hand-written kernels."""
    k = call.size("K")
    return [f"a {k}x{k} kernel (at most {MOST_TAPS}x{MOST_TAPS})"] if k > MOST_TAPS else []
