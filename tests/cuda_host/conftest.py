"""CUDA kernels on the CPU: the shared suite, with the harness in place of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import pytest
import torch
from harness import cuda_on_cpu
from suite import OpSuite, cases_of

from awsrn_fast.ops._cases import Case

ARCHS = (75, 80)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls is None or not issubclass(metafunc.cls, OpSuite):
        return
    # What is tested in fp32 alone has the same instances everywhere.
    archs = ARCHS if "dtype" in metafunc.fixturenames else ARCHS[:1]
    metafunc.fixturenames.append("arch")
    metafunc.parametrize("arch", archs, ids=lambda arch: f"sm_{arch}")
    for name in {"backend", "kernel"} & set(metafunc.fixturenames):
        metafunc.parametrize(name, ["cuda"])
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", ["cpu"])
    if "case" in metafunc.fixturenames:
        cases = cases_of(metafunc.cls.op)
        if metafunc.function.__name__ == "test_schema":  # which no size changes
            cases = [min((case for case in cases if _size(case)), key=_size)]
        metafunc.parametrize("case", cases, ids=lambda case: case.name)


def _size(case: Case) -> int:
    return prod(next(iter(case.shapes.values())))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs twice: fp32 on the second architecture, and test_deterministic, since test_no_races compares
    the bits of different orders of the threads."""
    again = {item for item in items if hasattr(item, "callspec") and "arch" in item.callspec.params and _is_again(item)}
    config.hook.pytest_deselected(items=list(again))
    items[:] = [item for item in items if item not in again]


def _is_again(item: pytest.Item) -> bool:
    parameters = item.callspec.params
    if item.cls is None or not issubclass(item.cls, OpSuite):
        return False
    fp32 = parameters["arch"] == ARCHS[1] and parameters.get("dtype") == torch.float32
    return fp32 or item.originalname == "test_deterministic"


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
