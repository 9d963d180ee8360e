"""Weights that were prepared once: the same bits, nothing packed at a call, and nothing of another dtype taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from harness import cuda_on_cpu
from suite import as_tuple, cases_of

from awsrn_fast import backends, ops
from awsrn_fast.ops import _cuda_conv

WEIGHTS = {"conv3x3": ("weight",), "gated_pair": ("weight",), "wide_residual": ("w1", "w2")}
CALLS = [pytest.param(op, case, id=f"{op}-{case.name}") for op in WEIGHTS for case in cases_of(op)]
PARTLY = {("conv3x3", "two odd maps"), ("gated_pair", "odd"), ("gated_pair", "few channels")}
"""Several maps whose channels are no whole chunks."""


def _kernel(weight: torch.Tensor) -> torch.Tensor:
    return weight if weight.dim() == 4 else weight[:, :, None, None]


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One for each weight packed so far."""
    made: list[object] = []
    pack: Callable = _cuda_conv.pack
    monkeypatch.setattr(_cuda_conv, "pack", lambda *arguments: (made.append(arguments), pack(*arguments))[1])
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_same_bits_without_packing(op: str, case, dtype: torch.dtype, packs: list[object]) -> None:
    arguments = case.make(dtype)
    weights = [arguments[name] for name in WEIGHTS[op]]
    with cuda_on_cpu(op, 75), backends.use_backend(**{op: "cuda"}), torch.no_grad():
        expected = as_tuple(ops.ROWS[op](**arguments))
        prepared = _cuda_conv.prepare(*map(_kernel, weights))
        packs.clear()
        got = as_tuple(ops.ROWS[op](**arguments, prepared=prepared))
        # Of maps whose channels are no whole chunks the order depends on the maps.
        assert bool(packs) == ((op, case.name) in PARTLY)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("op", WEIGHTS)
def test_of_another_dtype_it_is_packed_anew(op: str, packs: list[object]) -> None:
    arguments = cases_of(op)[0].make(torch.bfloat16)
    with cuda_on_cpu(op, 80), backends.use_backend(**{op: "cuda"}), torch.no_grad():
        expected = as_tuple(ops.ROWS[op](**arguments))
        for dtype in (torch.float16, torch.float32):
            other = _cuda_conv.prepare(*(_kernel(arguments[name]).to(dtype) for name in WEIGHTS[op]))
            packs.clear()
            got = as_tuple(ops.ROWS[op](**arguments, prepared=other))
            assert len(packs) == len(WEIGHTS[op])
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
