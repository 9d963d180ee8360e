"""Sums of products stay in registers: no inner loop of the AVX2 kernels' products touches the stack."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from awsrn_fast import native

if native.cpu is None and native.cpu_reason.startswith("not built"):
    pytest.skip(native.cpu_reason, allow_module_level=True)

Instruction = tuple[int, str, str]  # address, mnemonic, operands
ONCE_A_WEIGHT = ("collect_taps", "prepare")
"""Transforms of weights, which run once whatever the map."""


def functions(text: str) -> Iterator[tuple[str, list[Instruction]]]:
    """The AVX2 kernels' functions in objdump's output."""
    for part in re.split(r"\n\n(?=[0-9a-f]+ <)", text):
        head, _, body = part.partition("\n")
        name = re.match(r"[0-9a-f]+ <(.*)>:", head)
        if name and "awsrn_fast::avx2::" in name[1]:
            found = re.findall(r"^\s+([0-9a-f]+):\s+(\S+)[ \t]*(.*)$", body, re.M)
            yield name[1], [(int(address, 16), mnemonic, operands) for address, mnemonic, operands in found]


def inner_loops(code: list[Instruction]) -> Iterator[list[Instruction]]:
    """From the target of each backward jump to the jump, where no other such lies between."""
    at = {address: i for i, (address, _, _) in enumerate(code)}
    jumps = []
    for i, (_, mnemonic, operands) in enumerate(code):
        target = re.match(r"([0-9a-f]+) <", operands) if mnemonic.startswith("j") else None
        start = at.get(int(target[1], 16)) if target else None
        if start is not None and start <= i:
            jumps.append((start, i))
    for start, end in jumps:
        if not any(start <= other and last < end for other, last in jumps):
            yield code[start : end + 1]


def is_product(loop: list[Instruction]) -> bool:
    """Whether multiplying and adding is most of what a loop does beside loading: at least 40 % of it."""
    fused = sum(mnemonic.startswith("vfmadd") for _, mnemonic, _ in loop)
    return fused >= 8 and fused >= 0.4 * len(loop)


def test_products_leave_no_sum_on_the_stack() -> None:
    assert native.cpu is not None, native.cpu_reason
    if shutil.which("objdump") is None or "avx2" not in native.cpu.available_isas():
        pytest.skip("no objdump, or no AVX2 kernels")
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", native.cpu.__file__]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "awsrn_fast::avx2::" not in text:
        pytest.skip("the library has no names")
    products, spilled = 0, []
    for name, code in functions(text):
        if any(word in name for word in ONCE_A_WEIGHT):
            continue
        for loop in filter(is_product, inner_loops(code)):
            products += 1
            if any("(%rsp" in operands and "%ymm" in operands for _, _, operands in loop):
                spilled.append(f"{name[:120]} at {loop[0][0]:x}")
    assert products >= 20
    assert not spilled
