"""Every test of an op's suite runs once per registered backend and device, and per case where it asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from suite import OpSuite, cases_of

from awsrn_fast import backends
from awsrn_fast.ops import _triton

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls is None or not issubclass(metafunc.cls, OpSuite):
        return
    names = sorted(backends.registered(metafunc.cls.op))
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", names)
    if "kernel" in metafunc.fixturenames:  # what holds for kernels alone: plain PyTorch has no schema of ours
        metafunc.parametrize("kernel", [name for name in names if name != "reference"])
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", DEVICES)
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases_of(metafunc.cls.op), ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _convolutions_in_full_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(autouse=True)
def _unwritten_memory_is_nan() -> Iterator[None]:
    """What an interpreted kernel leaves unwritten is then seen."""
    torch.use_deterministic_algorithms(_triton.INTERPRETED)
    yield
    torch.use_deterministic_algorithms(False)
