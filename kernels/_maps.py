"""Layout of feature maps in the kernels: dense, ``[N, C, P]`` with P positions, in NCHW or in channels_last.

A kernel gets the strides of channel and position. Positions are counted in 32 bits, offsets in 64.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def layout(x: Tensor) -> torch.memory_format:
    """Layout of outputs for the input ``x``: channels_last if x is contiguous in it and not in NCHW."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def empty(x: Tensor, channels: int, of: torch.memory_format) -> Tensor:
    """Uninitialised map with the given channels and layout, of x's size, dtype and device."""
    n, _, h, w = x.shape
    return torch.empty((n, channels, h, w), dtype=x.dtype, device=x.device, memory_format=of)


def strides(channels: int, positions: int, of: torch.memory_format) -> tuple[int, int]:
    """Strides of the channel and of the position."""
    return (1, channels) if of == torch.channels_last else (positions, 1)


@triton.jit
def tile(channels, positions, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """This program's part of the maps: image, number of the tile in it, its channels and positions.

    The grid is one-dimensional, since CUDA limits the other dimensions to 65535: ``tiles(...)`` times N programs.
    """
    tiles_c, tiles_p = tl.cdiv(channels, BLOCK_C), tl.cdiv(positions, BLOCK_P)
    pid = tl.program_id(0)
    p = pid // tiles_c % tiles_p
    c = pid % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
    return (pid // (tiles_c * tiles_p)).to(tl.int64), p, c, p * BLOCK_P + tl.arange(0, BLOCK_P)


def tiles(channels: int, positions: int, block_c: int, block_p: int) -> int:
    """Number of programs per image."""
    return triton.cdiv(channels, block_c) * triton.cdiv(positions, block_p)


def block(channels: int, positions: int, of: torch.memory_format, values: int) -> tuple[int, int]:
    """BLOCK_C and BLOCK_P of an elementwise pass: ``values`` per program, long in the contiguous dimension."""
    if of == torch.channels_last:
        block_c = min(triton.next_power_of_2(channels), 64)
        return block_c, min(values // block_c, triton.next_power_of_2(positions))
    block_p = min(values, triton.next_power_of_2(positions))
    return min(values // block_p, triton.next_power_of_2(channels)), block_p
