"""The definition of ``non_local`` in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._mixed import conv2d


def reference(
    x: Tensor,
    w_theta: Tensor,
    b_theta: Tensor,
    w_phi: Tensor,
    b_phi: Tensor,
    w_g: Tensor,
    b_g: Tensor,
    w_z: Tensor,
    b_z: Tensor,
    block: int | None = None,
    halo: int = 0,
) -> Tensor:
    theta, phi, g = (_pointwise(x, w, b) for w, b in ((w_theta, b_theta), (w_phi, b_phi), (w_g, b_g)))
    height, width = x.shape[2:]
    if block is None or max(height, width) <= block + 2 * halo:
        attended = _attend_everywhere(theta, phi, g)
    else:
        attended = _attend_in_blocks(theta, phi, g, block, halo)
    return laid_out_like(x + _pointwise(attended, w_z, b_z), x)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return conv2d(x, weight[:, :, None, None], bias)


def _attend_everywhere(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    query, key, value = (t.flatten(2).transpose(1, 2) for t in (theta, phi, g))  # [N, H*W, D]
    return _attention(query, key, value).transpose(1, 2).reshape(theta.shape)


def _attend_in_blocks(theta: Tensor, phi: Tensor, g: Tensor, block: int, halo: int) -> Tensor:
    n, d, height, width = theta.shape
    rows, columns = (_spans(size, block, halo, theta.device) for size in (height, width))  # [blocks, span]
    down, across = rows.shape[0], columns.shape[0]
    tall, wide = min(block, height), min(block, width)

    # Queries of the last, ragged blocks are padded and cut off again: one batched product for all blocks.
    padded = F.pad(theta, (0, across * wide - width, 0, down * tall - height))
    query = padded.reshape(n, d, down, tall, across, wide).permute(0, 2, 4, 3, 5, 1)
    query = query.reshape(n * down * across, tall * wide, d)
    key, value = (_gather(t, rows, columns) for t in (phi, g))
    out = _attention(query, key, value).reshape(n, down, across, tall, wide, d)
    return out.permute(0, 5, 1, 3, 2, 4).reshape(n, d, down * tall, across * wide)[:, :, :height, :width]


def _spans(size: int, block: int, halo: int, device: torch.device) -> Tensor:
    """Positions along one axis that each block's keys cover: ``[blocks, span]``."""
    span = min(block + 2 * halo, size)
    starts = (torch.arange(0, size, block, dtype=torch.int64, device=device) - halo).clamp(0, size - span)
    return starts[:, None] + torch.arange(span, dtype=torch.int64, device=device)


def _gather(t: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``[N, D, H, W]`` -> each block's span of it, ``[N * blocks, span * span, D]``."""
    spans = t[:, :, rows][..., columns]  # [N, D, down, span, across, span]
    return spans.permute(0, 2, 4, 3, 5, 1).reshape(-1, rows.shape[1] * columns.shape[1], t.shape[1])


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention without 1/sqrt(d), ``[B, L, D]``; SDPA, so that the scores need no memory of their own."""
    query, key, value = (t.unsqueeze(1).contiguous() for t in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1)
