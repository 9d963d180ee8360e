"""``non_local``'s attention in Triton: flash attention over positions, global or in blocks.

The map is a grid of blocks. A block's queries attend to one span of keys, shifted inward at the map's borders;
global attention is one block as large as the map. The gradient of keys and values loops over the blocks whose span
contains them: every value has one writer, so results are deterministic.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _gpu
from ._numbers import narrow, precision, product
from ._tiles import Problem, Tiles, Tiling, padded
from .limits import NON_LOCAL_CHANNELS


@triton.jit
def _program(height, width, block, BLOCK: tl.constexpr):
    """This program's image, the row and the column of its block in the grid of blocks, its positions in the block."""
    parts = tl.cdiv(tl.minimum(block, height) * tl.minimum(block, width), BLOCK)
    down, across = tl.cdiv(height, block), tl.cdiv(width, block)
    pid = tl.program_id(0)
    cell = pid // parts
    n = (cell // (down * across)).to(tl.int64)
    return n, cell // across % down, cell % across, pid % parts * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _in_block(i, row, column, height, width, block):
    """Row and column in the map of the positions i of a block, and whether they are in both."""
    wide = tl.minimum(block, width)
    r, c = row * block + i // wide, column * block + i % wide
    return r, c, (i < tl.minimum(block, height) * wide) & (r < height) & (c < width)


@triton.jit
def _span(index, size, block, halo):
    """First position and length of the keys of a block, along one axis."""
    length = tl.minimum(block + 2 * halo, size)
    return tl.minimum(tl.maximum(index * block - halo, 0), size - length), length


@triton.jit
def _askers(index, size, block, halo):
    """First and last block, along one axis, whose keys reach into a block."""
    length = tl.minimum(block + 2 * halo, size)
    start, end = index * block, tl.minimum(index * block + block, size) - 1
    first = tl.where(start < length, 0, (start - length + halo) // block + 1)
    last = tl.cdiv(size, block) - 1
    return first, tl.where(size - length <= end, last, tl.minimum((end + halo) // block, last))


@triton.jit
def _read(matrix, at, inside, stride, d, channels):
    """The rows ``at`` of a matrix, [rows, channels], zero outside."""
    where = matrix + at.to(tl.int64)[:, None] * stride + d[None, :]
    return tl.load(where, inside[:, None] & (d < channels)[None, :], other=0)


@triton.jit
def _write(matrix, at, inside, stride, d, channels, value):
    where = matrix + at.to(tl.int64)[:, None] * stride + d[None, :]
    tl.store(where, narrow(value, matrix.dtype.element_ty), inside[:, None] & (d < channels)[None, :])


@triton.jit
def non_local_fwd_kernel(
    qkv,  # [N, H*W, 3D]
    attended,  # [N, H*W, D]
    softmax,  # [N, H*W, 2] fp32: each query's largest score and 1 / sum of exp(score - largest)
    height,
    width,
    channels,
    block,
    halo,
    PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n, row, column, i = _program(height, width, block, BLOCK_Q)
    d = tl.arange(0, BLOCK_D)
    r, c, asked = _in_block(i, row, column, height, width, block)
    at = r * width + c
    qkv += n * height * width * 3 * channels
    query = _read(qkv, at, asked, 3 * channels, d, channels)
    top, tall = _span(row, height, block, halo)
    left, wide = _span(column, width, block, halo)
    largest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    sums = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for start in range(0, tall * wide, BLOCK_K):
        j = start + tl.arange(0, BLOCK_K)
        inside = j < tall * wide
        there = (top + j // wide) * width + left + j % wide
        key = _read(qkv + channels, there, inside, 3 * channels, d, channels)
        score = product(query, tl.trans(key), tl.zeros((BLOCK_Q, BLOCK_K), tl.float32), PRECISION)
        score = tl.where(inside[None, :], score, float("-inf"))
        larger = tl.maximum(largest, tl.max(score, axis=1))
        shrink = tl.exp(largest - larger)
        weight = tl.exp(score - larger[:, None])
        total = total * shrink + tl.sum(weight, axis=1)
        value = _read(qkv + 2 * channels, there, inside, 3 * channels, d, channels)
        sums = product(narrow(weight, value.dtype), value, sums * shrink[:, None], PRECISION)
        largest = larger
    _write(attended + n * height * width * channels, at, asked, channels, d, channels, sums / total[:, None])
    softmax += n * height * width * 2 + 2 * at.to(tl.int64)
    tl.store(softmax, largest, asked)
    tl.store(softmax + 1, 1 / total, asked)


@triton.jit
def non_local_bwd_query_kernel(
    grad,  # [N, H*W, D]
    qkv,  # [N, H*W, 3D]
    attended,  # [N, H*W, D]
    softmax,  # [N, H*W, 2] fp32
    grad_qkv,  # [N, H*W, 3D], the queries' part is written
    along,  # [N, H*W] fp32, grad . attended, for the other kernel
    height,
    width,
    channels,
    block,
    halo,
    PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n, row, column, i = _program(height, width, block, BLOCK_Q)
    d = tl.arange(0, BLOCK_D)
    r, c, asked = _in_block(i, row, column, height, width, block)
    at = r * width + c
    before = n * height * width
    qkv += before * 3 * channels
    query = _read(qkv, at, asked, 3 * channels, d, channels)
    back = _read(grad + before * channels, at, asked, channels, d, channels)
    out = _read(attended + before * channels, at, asked, channels, d, channels)
    dot = tl.sum(back.to(tl.float32) * out.to(tl.float32), axis=1)
    tl.store(along + before + at, dot, asked)
    softmax += 2 * (before + at)
    largest, scale = tl.load(softmax, asked, other=0), tl.load(softmax + 1, asked, other=0)
    top, tall = _span(row, height, block, halo)
    left, wide = _span(column, width, block, halo)
    sums = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for start in range(0, tall * wide, BLOCK_K):
        j = start + tl.arange(0, BLOCK_K)
        inside = j < tall * wide
        there = (top + j // wide) * width + left + j % wide
        key = _read(qkv + channels, there, inside, 3 * channels, d, channels)
        value = _read(qkv + 2 * channels, there, inside, 3 * channels, d, channels)
        zero = tl.zeros((BLOCK_Q, BLOCK_K), tl.float32)
        score = product(query, tl.trans(key), zero, PRECISION)
        both = asked[:, None] & inside[None, :]
        weight = tl.where(both, tl.exp(score - largest[:, None]) * scale[:, None], 0)
        to_weight = product(back, tl.trans(value), zero, PRECISION)
        # A weight that rounds to 1 leaves 0 for the others: the gradient is exactly 0, as with a single key.
        to_score = tl.where(weight < 1, weight * (to_weight - dot[:, None]), 0)
        sums = product(narrow(to_score, key.dtype), key, sums, PRECISION)
    _write(grad_qkv + before * 3 * channels, at, asked, 3 * channels, d, channels, sums)


@triton.jit
def non_local_bwd_key_kernel(
    grad,  # [N, H*W, D]
    qkv,  # [N, H*W, 3D]
    softmax,  # [N, H*W, 2] fp32
    grad_qkv,  # [N, H*W, 3D], the keys' and the values' parts are written
    along,  # [N, H*W] fp32
    height,
    width,
    channels,
    block,
    halo,
    PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n, row, column, j = _program(height, width, block, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    r, c, inside = _in_block(j, row, column, height, width, block)
    there = r * width + c
    before = n * height * width
    qkv += before * 3 * channels
    grad += before * channels
    key = _read(qkv + channels, there, inside, 3 * channels, d, channels)
    value = _read(qkv + 2 * channels, there, inside, 3 * channels, d, channels)
    to_key = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    to_value = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    queries = tl.minimum(block, height) * tl.minimum(block, width)
    first_row, last_row = _askers(row, height, block, halo)
    first_column, last_column = _askers(column, width, block, halo)
    for asking_row in range(first_row, last_row + 1):
        top, tall = _span(asking_row, height, block, halo)
        seen_row = inside & (r >= top) & (r < top + tall)
        for asking_column in range(first_column, last_column + 1):
            left, wide = _span(asking_column, width, block, halo)
            seen = seen_row & (c >= left) & (c < left + wide)
            for start in range(0, queries, BLOCK_Q):
                i = start + tl.arange(0, BLOCK_Q)
                query_row, query_column, asked = _in_block(i, asking_row, asking_column, height, width, block)
                at = query_row * width + query_column
                query = _read(qkv, at, asked, 3 * channels, d, channels)
                back = _read(grad, at, asked, channels, d, channels)
                largest = tl.load(softmax + 2 * (before + at), asked, other=0)
                scale = tl.load(softmax + 2 * (before + at) + 1, asked, other=0)
                dot = tl.load(along + before + at, asked, other=0)
                zero = tl.zeros((BLOCK_K, BLOCK_Q), tl.float32)
                score = product(key, tl.trans(query), zero, PRECISION)
                both = seen[:, None] & asked[None, :]
                weight = tl.where(both, tl.exp(score - largest[None, :]) * scale[None, :], 0)
                to_value = product(narrow(weight, back.dtype), back, to_value, PRECISION)
                to_weight = product(value, tl.trans(back), zero, PRECISION)
                to_score = tl.where(weight < 1, weight * (to_weight - dot[None, :]), 0)
                to_key = product(narrow(to_score, query.dtype), query, to_key, PRECISION)
    grad_qkv += before * 3 * channels + channels
    _write(grad_qkv, there, inside, 3 * channels, d, channels, to_key)
    _write(grad_qkv + channels, there, inside, 3 * channels, d, channels, to_value)


def non_local_attend_fwd(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[Tensor, Tensor]:
    """``attended [N, H*W, D]`` in qkv's dtype, and ``softmax [N, H*W, 2]``; see ``awsrn_fast.ops.non_local``."""
    n, positions, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    qkv = qkv.contiguous()
    attended = qkv.new_empty((n, positions, channels))
    softmax = torch.empty((n, positions, 2), dtype=torch.float32, device=qkv.device)
    gpu = _gpu.gpu(qkv)
    tiles = FWD(gpu, qkv.dtype, _checked(channels))
    block, halo = _grid_of_blocks(height, width, block, halo)
    sizes = (height, width, channels, block, halo, precision(qkv.dtype, gpu.arch))
    grid = (n * _programs(height, width, block, tiles["BLOCK_Q"]),)
    non_local_fwd_kernel[grid](qkv, attended, softmax, *sizes, **tiles)
    return attended, softmax


def non_local_attend_bwd(
    grad_attended: Tensor,
    qkv: Tensor,
    attended: Tensor,
    softmax: Tensor,
    height: int,
    width: int,
    block: int | None,
    halo: int,
) -> Tensor:
    """Gradient of qkv."""
    n, channels = qkv.shape[0], qkv.shape[2] // 3
    grad, qkv = grad_attended.contiguous(), qkv.contiguous()
    grad_qkv = torch.empty_like(qkv)
    along = torch.empty(qkv.shape[:2], dtype=torch.float32, device=qkv.device)
    block, halo = _grid_of_blocks(height, width, block, halo)
    gpu = _gpu.gpu(qkv)
    sizes = (height, width, channels, block, halo, precision(qkv.dtype, gpu.arch))

    tiles = BWD_QUERY(gpu, qkv.dtype, _checked(channels))
    grid = (n * _programs(height, width, block, tiles["BLOCK_Q"]),)
    non_local_bwd_query_kernel[grid](grad, qkv, attended, softmax, grad_qkv, along, *sizes, **tiles)

    tiles = BWD_KEY(gpu, qkv.dtype, _checked(channels))
    grid = (n * _programs(height, width, block, tiles["BLOCK_K"]),)
    non_local_bwd_key_kernel[grid](grad, qkv, softmax, grad_qkv, along, *sizes, **tiles)
    return grad_qkv


def _grid_of_blocks(height: int, width: int, block: int | None, halo: int) -> tuple[int, int]:
    """Grid of blocks; global attention is one block as large as the map."""
    if block is None or max(height, width) <= block + 2 * halo:
        return max(height, width, 1), 0
    return block, halo


def _programs(height: int, width: int, block: int, side: int) -> int:
    blocks = triton.cdiv(height, block) * triton.cdiv(width, block)
    return blocks * triton.cdiv(min(block, height) * min(block, width), side)


def _checked(channels: int) -> tuple[int]:
    if channels > NON_LOCAL_CHANNELS:
        raise ValueError(
            f"non_local: w_theta has {channels} rows; the triton backend takes at most {NON_LOCAL_CHANNELS}"
        )
    return (channels,)


def _tiles(problem: Problem) -> Tiles:
    kernel, gpu, dtype, (channels,), _ = problem
    tiles = {"BLOCK_D": padded(channels), "BLOCK_Q": 64, "BLOCK_K": 64}
    tiles |= {"num_warps": 4 if channels <= 32 else 8, "num_stages": 2}
    if gpu.arch and dtype == torch.float32:  # three TF32 products keep twice the operands in registers
        tiles |= {
            "non_local_fwd": {"BLOCK_K": 32},
            "non_local_bwd_query": {"BLOCK_Q": 32, "BLOCK_K": 32},
            "non_local_bwd_key": {"BLOCK_Q": 16, "BLOCK_K": 32, "num_warps": 4 if channels <= 16 else 8},
        }[kernel]
    elif kernel == "non_local_bwd_key":
        tiles["BLOCK_Q"] = 32
    if gpu.arch in ("sm_86", "sm_89") and dtype != torch.float32:  # where sm_80's tiles would spill
        if kernel in ("non_local_fwd", "non_local_bwd_key") and 16 < channels <= 32:
            tiles["BLOCK_K"] = 32
        elif kernel == "non_local_bwd_key" and channels <= 16:
            tiles["num_warps"] = 8
    narrow_fp32 = dtype == torch.float32 and channels <= 16 and gpu.arch != "sm_90"
    if kernel == "non_local_bwd_key" and not narrow_fp32:
        tiles["num_stages"] = 1  # a second stage's addresses would spill; there, as compiled, one alone does
    return tiles


def _fits(problem: Problem, tiles: Tiles, shared: int) -> bool:
    """Whether resident operands (queries and gradients, or keys and values), staged ones and weights fit."""
    stay, come = ("BLOCK_K", "BLOCK_Q") if problem.kernel == "non_local_bwd_key" else ("BLOCK_Q", "BLOCK_K")
    vectors = 2 * tiles["BLOCK_D"] * (tiles[stay] + tiles["num_stages"] * tiles[come])
    return (vectors + tiles["BLOCK_Q"] * tiles["BLOCK_K"]) * problem.dtype.itemsize <= shared


FWD, BWD_QUERY, BWD_KEY = TILINGS = tuple(
    Tiling(kernel, _tiles, _fits) for kernel in ("non_local_fwd", "non_local_bwd_query", "non_local_bwd_key")
)
