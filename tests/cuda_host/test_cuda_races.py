"""Every CUDA kernel, every access of its threads seen: no races, and the same bits in any order of the threads."""

from __future__ import annotations

import pytest
import torch
from harness import cuda_on_cpu, instances
from suite import cases_of, forward_and_gradients

from awsrn_fast import backends, ops
from awsrn_fast.ops._cases import Case

ROWS = [op for op in ops.ROWS if "cuda" in backends.registered(op)]
CALLS = [pytest.param(op, case, id=f"{op}-{case.name}") for op in ROWS for case in cases_of(op)]
ORDERS = (0, 1)


def results(op: str, case: Case, arch: int, dtype: torch.dtype, order: int) -> dict[str, torch.Tensor]:
    with cuda_on_cpu(op, arch, "race") as module, backends.use_backend(**{op: "cuda"}):
        module.set_thread_order(order)
        return forward_and_gradients(ops.ROWS[op], case.make(dtype))


@pytest.mark.parametrize(("arch", "dtype"), instances())
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_no_races(op: str, case: Case, arch: int, dtype: torch.dtype) -> None:
    ascending, shuffled = (results(op, case, arch, dtype, order) for order in ORDERS)
    assert all(torch.equal(ascending[name], shuffled[name]) for name in ascending)


@pytest.mark.slow
@pytest.mark.parametrize("order", range(2, 6))
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_more_orders(op: str, case: Case, order: int) -> None:
    results(op, case, 75, torch.float16, order)
