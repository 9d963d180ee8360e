"""Run every CUDA kernel over its cases under AddressSanitizer and UndefinedBehaviorSanitizer.

A process of its own, since the sanitizers' runtimes must be loaded first: ``test_cuda_sanitizers.py`` starts it.

    python tests/cuda_host/run_sanitized.py           every op's cases
    python tests/cuda_host/run_sanitized.py FAULT     a planted fault of the probe, which must end the process
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "ops")]

import host_build
from harness import cuda_on_cpu, instances
from suite import cases_of, forward_and_gradients

from awsrn_fast import backends, ops


def run_ops() -> None:
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
    probe = host_build.load("asan", "_probe", (HERE / "probe/probe.cu",), HERE / "probe/probe.cpp")
    rows = 3
    x, y = torch.randn(rows, 64), torch.empty(rows - (name == "short_output"))
    address = x.data_ptr() + 2 * (name == "unaligned_input")
    probe.row_sums(address, y.data_ptr(), rows, getattr(probe.Fault, name, probe.Fault.none))
    print("clean", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        run_fault(sys.argv[1])
    else:
        run_ops()
