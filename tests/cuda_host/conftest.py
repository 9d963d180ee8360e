"""CUDA kernels on the CPU: the shared suite, with the harness in place of a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from harness import cuda_on_cpu
from suite import OpSuite, cases_of

ARCHS = (75, 80)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls is None or not issubclass(metafunc.cls, OpSuite):
        return
    archs = getattr(metafunc.cls, "archs", ARCHS)
    metafunc.fixturenames.append("arch")
    metafunc.parametrize("arch", archs, ids=lambda arch: f"sm_{arch}")
    for name in {"backend", "kernel"} & set(metafunc.fixturenames):
        metafunc.parametrize(name, ["cuda"])
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", ["cpu"])
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases_of(metafunc.cls.op), ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _suite_on_the_harness(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.cls is None or not issubclass(request.cls, OpSuite):
        yield
        return
    with cuda_on_cpu(request.cls.op, request.getfixturevalue("arch")):
        yield


@pytest.fixture(autouse=True)
def _unwritten_memory_is_nan() -> Iterator[None]:
    """What a kernel leaves unwritten, in an output or in its workspace, is then seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
