"""What can be read off the compiled kernels without a GPU: no spills, tensor cores, the claimed occupancy."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import build_native
import kernel_table
import pytest
from kernel_table import compile_for_75, compiled, launched, possible_blocks, sources

PRODUCTS = {"dwpw_attention", "non_local", "awms"}
"""Ops whose kernels are to run on tensor cores."""


@pytest.fixture(scope="module", autouse=True)
def _toolkit() -> None:
    try:
        kernel_table.toolkit()
    except build_native.Unavailable as reason:
        pytest.skip(str(reason))


def test_no_spills() -> None:
    spilling = {name: code.spilled_bytes for name, code in compiled().items() if code.spilled_bytes}
    assert not spilling


def test_every_instance_runs_under_the_harness() -> None:
    assert set(compiled()) == set(launched())


def test_the_claimed_occupancy_holds() -> None:
    for name, code in compiled().items():
        run = launched()[name]
        assert code.claimed_blocks, f"{name} has no __launch_bounds__(threads, blocks)"
        assert run.threads <= code.most_threads, name
        # An instance for sm_80 has no body here, so its registers say nothing; its shared memory must fit the tightest.
        possible = possible_blocks(code.registers, run.threads, run.shared_bytes, 86 if "Li80E" in name else 75)
        assert possible >= code.claimed_blocks, f"{name}: {possible} blocks fit, {code.claimed_blocks} are claimed"


def test_possible_blocks() -> None:
    assert possible_blocks(32, 1024, 0) == 2 // 2
    assert possible_blocks(64, 256, 16 * 1024) == 4
    assert possible_blocks(65, 256, 0) == 3  # 72 registers are allotted
    assert possible_blocks(32, 32, 0) == 16
    assert possible_blocks(32, 128, 40 * 1024) == 1
    # From sm_80 on a block takes 1 KB more than it asks for.
    assert possible_blocks(32, 128, 49 * 1024, 86) == 2
    assert possible_blocks(32, 128, 50 * 1024, 86) == 1
    assert possible_blocks(32, 128, 50 * 1024, 80) == 3
    assert possible_blocks(32, 256, 0, 86) == 6
    assert possible_blocks(32, 32, 0, 90) == 32
    assert possible_blocks(128, 256, 0, 90) == 2


def test_the_document_has_the_table() -> None:
    document = kernel_table.DOCUMENT.read_text(encoding="utf-8")
    if kernel_table.compiler() not in document:
        pytest.skip(f"{kernel_table.DOCUMENT.name} is of another nvcc than {kernel_table.compiler()}")
    assert document == kernel_table.page(), "python tests/cuda_host table"


def test_products_use_tensor_cores() -> None:
    products = {name for name, run in launched().items() if run.products}
    here = {op for op in PRODUCTS if any(source.stem == op for source in sources())}
    for op in here:
        assert any(launched()[name].op == op and "mma.sync" in compiled()[name].ptx for name in products), op
    assert any("conv_kernel" in name for name in products)  # of several ops
    for name in products:
        # An instance for sm_80 has no body here.
        if "__nv_bfloat16" in name or "Li80E" in name:
            continue
        assert "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32" in compiled()[name].ptx, name
        assert "m16n8k16" not in compiled()[name].ptx, name


def test_products_are_hmma_in_the_machine_code() -> None:
    disassembler = find_cuobjdump()
    if disassembler is None:
        pytest.skip("no cuobjdump in PATH or in the triton package")
    products = {name for name, run in launched().items() if run.products and "mma.sync" in compiled()[name].ptx}
    for source in sources():
        *_, cubin = compile_for_75(source)
        done = subprocess.run([disassembler, "-sass", str(cubin)], capture_output=True, text=True, check=True)
        for part in re.split(r"\n\s*Function : ", done.stdout)[1:]:
            name = part.split("\n", 1)[0].strip()
            assert (name in products) == ("HMMA" in part), name


def find_cuobjdump() -> str | None:
    try:
        import triton
    except ImportError:
        return shutil.which("cuobjdump")
    inside = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return str(inside) if inside.is_file() else shutil.which("cuobjdump")


@pytest.mark.slow
@pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)
def test_compiles_for_every_architecture(source: Path, tmp_path: Path) -> None:
    nvcc = kernel_table.toolkit() / "bin/nvcc"
    archs = [75, 80, 86, 89, 90]  # more than a build has by default
    command = [str(nvcc), *build_native.NVCC_FLAGS, f"-I{build_native.CSRC}", *build_native.arch_flags(archs)]
    # What a driver makes of the last one's PTX on Blackwell.
    command += [f"-gencode=arch=compute_{archs[-1]},code=sm_{arch}" for arch in (100, 120)]
    command += ["-Werror=all-warnings", "-Xptxas=-v", "-c", str(source), "-o", str(tmp_path / "a.o")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    reports = re.findall(
        r"Compiling entry function '(\w+)' for '(sm_\d+)'.*?(\d+) bytes spill stores", done.stderr, re.DOTALL
    )
    assert {arch for _, arch, _ in reports} == {f"sm_{arch}" for arch in (*archs, 100, 120)}
    assert not [report for report in reports if report[2] != "0"]
