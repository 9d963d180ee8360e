"""The CPU gated_pair alone: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from awsrn_fast import ops, use_backend

# N, C, O, H, W: channels below, at, above and beside whole vectors; positions within a tile and beyond, odd, in slots.
SHAPES = [(1, 1, 1, 1, 1), (2, 5, 20, 6, 9), (1, 32, 32, 8, 12), (3, 17, 7, 23, 5), (1, 16, 48, 41, 77)]
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 5e-2}


def inputs(shape: tuple[int, ...], gate: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    n, c, o, h, w = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype)

    made = {"x0": normal(n, c, h, w), "x1": normal(n, c, h, w), "gate": normal(n, 2 * c) if gate else None}
    return made | {"weight": normal(o, 2 * c) / (2 * c) ** 0.5, "bias": normal(o)}


def results(inputs: dict[str, Tensor | None], threads: int) -> list[Tensor]:
    """The output, and the gradients of all inputs for a fixed one of it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaves = {name: t if t is None else t.detach().requires_grad_() for name, t in inputs.items()}
        y = ops.gated_pair(**leaves)
        grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(y)
        return [y.detach(), *torch.autograd.grad(y, [leaf for leaf in leaves.values() if leaf is not None], grad)]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_fp64(isa: str, shape: tuple[int, ...], gate: bool, dtype: torch.dtype) -> None:
    given = inputs(shape, gate, dtype)
    with use_backend(gated_pair="reference"):
        truths = results({name: t if t is None else t.double() for name, t in given.items()}, 1)
    for got, truth in zip(results(given, 2), truths, strict=True):
        # The norm of the error: a value that rounding moves across the ReLU's zero has another gradient altogether.
        error, size = (got.double() - truth).norm().item(), truth.norm().item()
        assert error <= ROUNDING[dtype] * max(size, 1e-3)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_bits_for_any_number_of_threads(isa: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    given = inputs(shape, True, dtype)
    once = results(given, 1)
    for threads in (2, 3, 8):
        assert all(torch.equal(a, b) for a, b in zip(results(given, threads), once, strict=True))


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_nan_goes_through_forward_and_backward(isa: str, dtype: torch.dtype) -> None:
    given = inputs((1, 17, 18, 3, 5), True, dtype)
    given["x1"][0, 3, 1, 2] = float("nan")
    with use_backend(gated_pair="reference"):
        expected = results(given, 1)
    for got, truth in zip(results(given, 1), expected, strict=True):
        assert torch.equal(got.isnan(), truth.isnan())
