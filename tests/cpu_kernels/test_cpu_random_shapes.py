"""The CPU kernels of every instruction set of this machine on random shapes: the suite's rule, and the same bits with
one thread and with several, more than there are cores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from random_cases import random_arguments, random_case, rounded
from suite import assert_accurate, forward_and_gradients

from awsrn_fast import backends, ops

KERNEL = "cpu"
OPS = sorted(op for op in ops.ROWS if (found := backends.registered(op).get(KERNEL)) and found.run is not None)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def hold(op: str, seed: int, most_positions: int) -> None:
    """One random call against fp64, with one thread and with some."""
    case = random_case(op, seed, most_positions)
    arguments = random_arguments(op, case, seed)
    reference = ops.ROWS[op].reference
    exact = forward_and_gradients(reference, rounded(arguments, torch.float64))
    same_dtype = forward_and_gradients(reference, arguments)

    def run(threads: int):
        torch.set_num_threads(threads)
        with backends.use_backend(**{op: KERNEL}):
            return forward_and_gradients(ops.ROWS[op], arguments)

    one, several = run(1), run(2 + seed % 7)
    described = {name: tuple(v.shape) if isinstance(v, torch.Tensor) else v for name, v in arguments.items()}
    try:
        assert_accurate(one, same_dtype, exact, bool(backends.registered(op)[KERNEL].algorithm))
    except AssertionError as error:
        raise AssertionError(f"{op}, random case {seed}, {described}: {error}") from error
    for name, value in one.items():
        assert torch.equal(value, several[name]), f"{op}, random case {seed}, {described}: {name} by threads"


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", OPS)
def test_random_shapes(op: str) -> None:
    for seed in range(12):
        hold(op, seed, 300)


@pytest.mark.slow
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", OPS)
def test_many_random_shapes(op: str) -> None:
    for seed in range(100, 200):
        hold(op, seed, 4900 if seed % 10 == 0 else 900)
