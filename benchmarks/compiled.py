"""Launch configuration and occupancy of a row's CUDA kernels, determined without a GPU.

``compiled_sm_75.json`` holds them for every op's benchmark cases on compute capability 7.5. ``python
benchmarks/compiled.py`` regenerates it after a kernel change: registers come from nvcc and ptxas; grids, threads
and shared memory from launches that tests/cuda_host records instead of running them. It takes minutes, and needs nvcc
and g++.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from rows import OpRow, op_rows

from awsrn_fast import backends, ops
from awsrn_fast.files import write_text

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name("compiled_sm_75.json")
DTYPES = (torch.float32, torch.float16)


class Launch(NamedTuple):
    """Launch of one kernel of a row.

    Attributes:
        kernel: its name and template arguments.
        blocks: blocks in the grid.
        threads: threads per block.
        registers: registers per thread.
        shared_bytes: shared memory per block.
        resident: blocks that run on one multiprocessor at a time.
    """

    kernel: str
    blocks: int
    threads: int
    registers: int
    shared_bytes: int
    resident: int


def launches_of(row: OpRow) -> list[Launch]:
    """A row's launches, from the table; empty if it has no CUDA kernel of ours on compute capability 7.5."""
    return [Launch(*launch) for launch in _table()["rows"].get(row.name, [])]


def is_current() -> bool:
    """Whether the table matches the present CUDA sources."""
    return _table()["sources"] == sources_id()


def sources_id() -> str:
    """Digest of the kernels' sources."""
    digest = hashlib.sha256()
    for folder in ("csrc/common", "csrc/cuda"):
        for path in sorted((ROOT / folder).iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]


def recorded(row: OpRow) -> list[tuple[str, int, int, int]]:
    """Mangled name, blocks, threads and shared bytes of each kernel that a row launches, without running it."""
    sys.path[1:1] = [str(ROOT / folder) for folder in ("tests/cuda_host", "tests/ops", "csrc")]
    from harness import cuda_on_cpu

    with cuda_on_cpu(row.op, 75) as module, backends.use_backend(**{row.op: "cuda"}):
        module.set_running(False)
        module.take_launches()
        arguments = row.case.make(row.dtype)
        for name, value in arguments.items():
            if isinstance(value, torch.Tensor):
                maps = value.dim() == 4
                value = value.contiguous(memory_format=torch.channels_last) if maps else value
                arguments[name] = value.requires_grad_(row.backward)
        outputs = ops.ROWS[row.op](**arguments)
        if row.backward:
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            leaves = [value for value in arguments.values() if isinstance(value, torch.Tensor)]
            torch.autograd.grad(outputs, leaves, [torch.ones_like(y) for y in outputs])
        taken = sorted(module.take_launches())
    return [(kernel, blocks, threads, shared) for _, kernel, blocks, threads, shared, _ in taken]


def main() -> None:
    recorded_rows = {row.name: recorded(row) for row in op_rows(DTYPES) if "cuda" in backends.registered(row.op)}
    import kernel_table  # found by now

    code = kernel_table.compiled()
    names = kernel_table.readable(list(code))

    def launch(kernel: str, blocks: int, threads: int, shared: int) -> Launch:
        registers = code[kernel].registers
        resident = kernel_table.possible_blocks(registers, threads, shared)
        return Launch(names[kernel], blocks, threads, registers, shared, resident)

    lines = [
        f"{json.dumps(name)}: {json.dumps([launch(*each) for each in launches])}"
        for name, launches in recorded_rows.items()
    ]
    rows = ",\n".join(lines)
    write_text(TABLE, f'{{"sources": "{sources_id()}", "rows": {{\n{rows}\n}}}}\n')


def _table() -> dict:
    return json.loads(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
