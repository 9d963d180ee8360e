"""Every CUDA kernel over its cases under AddressSanitizer and UndefinedBehaviorSanitizer.

In a process of its own (``python tests/cuda_host sanitize``), since the sanitizers' runtimes must be loaded first.
"""

from __future__ import annotations

from pathlib import Path

import host_build
import torch
from harness import cuda_on_cpu, instances
from suite import cases_of, forward_and_gradients

from awsrn_fast import backends, ops

PROBE = Path(__file__).resolve().parent / "probe"


def run_ops() -> None:
    """Print a line for each case of each op and instance; the sanitizers end the process at the first error."""
    for op in ops.ROWS:
        if "cuda" not in backends.registered(op):
            continue
        for parameters in instances():
            arch, dtype = parameters.values
            with cuda_on_cpu(op, arch, "asan"), backends.use_backend(**{op: "cuda"}):
                for case in cases_of(op):
                    forward_and_gradients(ops.ROWS[op], case.make(dtype))
                    print(f"clean: {op} {case.name} {parameters.id}", flush=True)


def run_fault(name: str) -> None:
    """Run a kernel of the probe on an output too short, on an input off its alignment, or as it should be."""
    probe = host_build.load("asan", "_probe", (PROBE / "probe.cu",), PROBE / "probe.cpp")
    rows = 3
    x, y = torch.randn(rows, 64), torch.empty(rows - (name == "short_output"))
    address = x.data_ptr() + 2 * (name == "unaligned_input")
    probe.row_sums(address, y.data_ptr(), rows, getattr(probe.Fault, name, probe.Fault.none))
    print("clean", flush=True)
