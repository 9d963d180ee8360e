"""The CPU kernels of every instruction set of this machine on random shapes: the suite's rule, and the same bits with
one thread and with several, more than there are cores."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

import pytest
import torch
from random_cases import random_arguments, random_case, rounded
from suite import assert_accurate, forward_and_gradients

from awsrn_fast import backends, ops
from awsrn_fast.ops._cases import FLOOR, TRANSFORMED, Case

Results = dict[str, torch.Tensor]
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
    described = f"{op}, random case {seed}, {case.shapes}, {case.options}"
    one, same_dtype, exact = results(op, case, seed, 1)
    several, _, _ = results(op, case, seed, 2 + seed % 7, alone=True)
    for name, value in one.items():
        assert torch.equal(value, several[name]), f"{described}: {name} with {2 + seed % 7} threads"
    transformed = bool(backends.registered(op)[KERNEL].algorithm)
    try:
        assert_accurate(one, same_dtype, exact, transformed)
    except AssertionError as error:
        # Of few sums over many positions the reference's may be nearly exact by luck: then the rule holds on average.
        over = [results(op, case, 1000 * draw + seed, 1) for draw in range(1, 13)]
        for name in exact:
            ours, theirs = (mean(largest(result[which][name] - result[2][name]) for result in over) for which in (0, 1))
            rms = mean(result[2][name].square().mean().sqrt().item() for result in over)
            allowed = max(2 * theirs + FLOOR[torch.float32] * rms, TRANSFORMED * rms if transformed else 0)
            assert ours <= allowed, f"{described}: {error}; over 12 draws of {name} {ours:.3g}, allowed {allowed:.3g}"


def results(op: str, case: Case, seed: int, threads: int, alone: bool = False) -> tuple[Results, Results, Results]:
    """Outputs and gradients of the kernel, and unless it is ``alone`` of the reference in fp32 and in fp64."""
    arguments, reference = random_arguments(op, case, seed), ops.ROWS[op].reference
    torch.set_num_threads(threads)
    with backends.use_backend(**{op: KERNEL}):
        got = forward_and_gradients(ops.ROWS[op], arguments)
    if alone:
        return got, {}, {}
    same_dtype = forward_and_gradients(reference, arguments)
    return got, same_dtype, forward_and_gradients(reference, rounded(arguments, torch.float64))


def largest(errors: torch.Tensor) -> float:
    return errors.abs().max().item()


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
