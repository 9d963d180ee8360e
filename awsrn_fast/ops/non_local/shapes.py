"""Common parts of the backends of ``non_local``: the attention's outputs, sizes and limits."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.backends import Call


def attended_and_softmax(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Memory for ``attended [N, H*W, D]`` and ``softmax [N, H*W, 2]``."""
    n, positions, channels = qkv.shape
    return qkv.new_empty((n, positions, channels // 3)), qkv.new_empty((n, positions, 2), dtype=torch.float32)


def shape(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[int, int, int, int, int, int]:
    """Sizes for a kernel, to which global attention is one block as large as the map."""
    if block is None or max(height, width) <= block + 2 * halo:
        block, halo = max(height, width, 1), 0
    return qkv.shape[0], height, width, qkv.shape[2] // 3, block, halo


def too_long(call: Call, most: int) -> list[str]:
    """Reasons against a backend whose kernels hold ``most`` channels of a query."""
    d = call.size("D")
    return [f"{d} channels of queries (at most {most})"] if d > most else []
