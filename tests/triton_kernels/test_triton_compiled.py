"""What can be read off the compiled Triton kernels without a GPU: no spills, matrix instructions, shared memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from awsrn_fast import backends, ops

pytestmark = pytest.mark.slow

ROWS = [op for op in ops.ROWS if "triton" in backends.registered(op)]
SHARED = {"sm_75": 64, "sm_80": 99, "sm_86": 99, "sm_89": 99, "sm_90": 227, "gfx90a": 64, "gfx942": 64}
"""KiB that one block can have: CUDA programming guide, table of technical specifications; AMD's CDNA ISA documents.
sm_80 itself has 163, but its tiles are also those of sm_86 and sm_89."""


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    script = Path(__file__).with_name("compile_ahead.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, script, *ROWS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


BORROWED = {"wide_residual": {"gated_residual_bwd_kernel"}}
"""Kernels of another op's that one launches."""


def named(entry: dict[str, Any]) -> str:
    return f"{entry['kernel']} {entry['arch']} {entry['dtype']} {entry['constants']} {entry['options']}"


def test_every_kernel_is_compiled_for_every_dtype(compiled: list[dict[str, Any]]) -> None:
    from awsrn_fast import kernels  # with Triton, which the other tests of this process do not need

    sources = "".join(path.read_text() for path in Path(kernels.__file__).parent.glob("*.py"))
    for name in {entry["kernel"] for entry in compiled}:
        assert f"def {name}(" in sources
    folder = Path(kernels.__file__).parent
    shared = set(re.findall(r"^def (\w+_kernel)\(", "".join(p.read_text() for p in folder.glob("_*.py")), re.MULTILINE))
    assert shared <= {entry["kernel"] for entry in compiled}
    for op in ROWS:
        text = (Path(kernels.__file__).parent / f"{op}.py").read_text()
        entries = [entry for entry in compiled if entry["op"] == op]
        names = {line[4:].partition("(")[0] for line in text.splitlines() if line.startswith("def ")}
        own = {name for name in names if name.endswith("_kernel")}
        used = {entry["kernel"] for entry in entries}
        assert own <= used and used - own <= shared | BORROWED.get(op, set())
        assert {entry["dtype"] for entry in entries} == {"fp32", "fp16", "bf16"}


def test_no_spills(compiled: list[dict[str, Any]]) -> None:
    assert not [f"{named(entry)}: {entry['spilled']}" for entry in compiled if entry["spilled"]]


def test_shared_memory_fits(compiled: list[dict[str, Any]]) -> None:
    large = [entry for entry in compiled if entry["shared"] > SHARED[entry["arch"]] * 1024]
    assert not [f"{named(entry)}: {entry['shared']}" for entry in large]


def test_products_use_matrix_instructions(compiled: list[dict[str, Any]]) -> None:
    asking = [entry for entry in compiled if entry["asks_for_products"]]
    assert not [named(entry) for entry in asking if not entry["products"]]
    assert all(entry["arch"] != "sm_75" for entry in asking)
