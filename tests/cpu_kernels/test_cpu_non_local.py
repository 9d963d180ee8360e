"""The CPU non_local's kernel by itself: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops._cpu import address, dtype_code

# N, H, W, D, block, halo. One position; fewer and more than a tile; d below, at and beyond a vector, not of four;
# ragged blocks; a span wider than one axis; a halo larger than its block; blocks of one position.
SHAPES = [
    (1, 1, 1, 1, 1, 0),
    (2, 7, 19, 5, 19, 0),
    (1, 24, 24, 16, 24, 0),
    (1, 9, 11, 64, 11, 0),
    (1, 6, 5, 100, 6, 0),
    (2, 13, 21, 8, 5, 2),
    (1, 40, 24, 16, 16, 4),
    (1, 6, 30, 12, 8, 3),
    (1, 12, 12, 6, 3, 4),
    (1, 5, 4, 4, 1, 1),
    (0, 3, 4, 8, 4, 0),
    (2, 0, 4, 8, 4, 0),
]
Shape = tuple[int, int, int, int, int, int]


def inputs(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    n, h, w, d, _, _ = shape
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn((n, h * w, 3, d), generator=generator)
    qkv[:, :, :2] *= 1.5 / d**0.25  # scores of a spread that neither flattens nor saturates the softmax
    return qkv.flatten(2).to(dtype), torch.randn((n, h * w, d), generator=generator).to(dtype)


def run(shape: Shape, qkv: Tensor, grad: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of qkv for the output's gradient ``grad``."""
    attended = torch.full_like(grad, float("nan"))
    softmax = torch.full((*grad.shape[:2], 2), float("nan"))
    grad_qkv = torch.full_like(qkv, float("nan"))
    rest = (*shape, dtype_code(qkv.dtype), threads)
    native.cpu.non_local_fwd(rest, *map(address, (qkv, attended, softmax)))
    native.cpu.non_local_bwd(rest, *map(address, (grad, qkv, attended, softmax, grad_qkv)))
    return attended, grad_qkv


def may_attend(size: int, block: int, halo: int) -> Tensor:
    """Along one axis, whether a query [size, 1] meets a key [1, size]."""
    at = torch.arange(size)
    span = min(block + 2 * halo, size)
    start = (at // block * block - halo).clamp(0, size - span)[:, None]
    return (at >= start) & (at < start + span)


def exactly(shape: Shape, qkv: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    _, h, w, d, block, halo = shape
    rows, columns = (may_attend(size, block, halo) for size in (h, w))
    seen = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(h * w, h * w)
    leaf = qkv.double().requires_grad_()
    query, key, value = leaf.split(d, dim=2)
    scores = (query @ key.transpose(1, 2)).masked_fill(~seen, -torch.inf)
    attended = scores.softmax(-1) @ value
    return attended.detach(), torch.autograd.grad(attended, leaf, grad.double())[0]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_fp64(shape: Shape) -> None:
    qkv, grad = inputs(shape)
    for got, exact in zip(run(shape, qkv, grad, 2), exactly(shape, qkv, grad), strict=True):
        size = max(1.0, exact.abs().max().item()) if exact.numel() else 1.0
        torch.testing.assert_close(got.double(), exact, rtol=0, atol=3e-6 * size)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bfloat16_against_fp64(shape: Shape) -> None:
    qkv, grad = inputs(shape, torch.bfloat16)
    for got, exact in zip(run(shape, qkv, grad, 2), exactly(shape, qkv, grad), strict=True):
        assert got.isfinite().all()
        if exact.numel():
            assert (got.double() - exact).norm() <= 8e-3 * exact.norm() + 1e-2 * (exact.numel() == 3)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(2, 13, 21, 8, 5, 2), (1, 24, 24, 16, 24, 0), (3, 5, 7, 4, 7, 0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_same_bits_whatever_the_threads(shape: Shape, dtype: torch.dtype) -> None:
    one, *others = (run(shape, *inputs(shape, dtype), threads) for threads in (1, 2, 3, 8))
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_scores_neither_overflow_nor_vanish(rising: bool, dtype: torch.dtype) -> None:
    shape = (1, 1, 200, 1, 200, 0)
    qkv, grad = torch.ones(1, 200, 3), torch.ones(1, 200, 1)
    steps = torch.arange(200.0) * 128
    qkv[0, :, 1] = steps if rising else steps.flip(0) - 2**15  # the largest comes last, or all are far below zero
    qkv[0, :, 2] = torch.arange(200.0)
    attended, grad_qkv = run(shape, qkv.to(dtype), grad.to(dtype), 1)
    expected = torch.full((1, 200, 1), 199.0 if rising else 0.0, dtype=dtype)
    torch.testing.assert_close(attended, expected, rtol=0, atol=1e-20)
    assert grad_qkv.isfinite().all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nan_reaches_the_output(dtype: torch.dtype) -> None:
    shape = (1, 4, 30, 4, 30, 0)
    qkv, grad = inputs(shape, dtype)
    qkv[0, 70, 5] = float("nan")  # a component of one key: every query meets it
    attended, _ = run(shape, qkv, grad, 1)
    assert attended.isnan().all()


def test_wrong_sizes_are_refused() -> None:
    assert native.cpu is not None, native.cpu_reason
    with pytest.raises(ValueError, match="non_local: threads must be at least 1"):
        native.cpu.non_local_fwd((0, 0, 0, 0, 1, 0, 0, 0), 0, 0, 0)
    with pytest.raises(ValueError, match="non_local: a size is negative"):
        native.cpu.non_local_fwd((-1, 0, 0, 0, 1, 0, 0, 1), 0, 0, 0)
    with pytest.raises(ValueError, match="non_local: block must be at least 1"):
        native.cpu.non_local_bwd((1, 1, 1, 1, 0, 0, 0, 1), 0, 0, 0, 0, 0)
