"""What the tests of the CPU kernels share: each instruction set of this machine in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from awsrn_fast import native

if native.cpu is None and native.cpu_reason.startswith("not built"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(params=native.cpu.available_isas() if native.cpu else ["not loaded"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernels of one instruction set; workspaces start as NaN: what is read before it is written shows."""
    assert native.cpu is not None, native.cpu_reason
    before = native.cpu.isa()
    native.cpu.set_isa(request.param)
    native.cpu.poison(True)
    yield request.param
    native.cpu.poison(False)
    native.cpu.set_isa(before)
