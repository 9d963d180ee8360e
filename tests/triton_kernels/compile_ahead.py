"""Compiles every configuration of the Triton kernels without a GPU: ``python compile_ahead.py OP ...`` prints JSON.

The launch functions run on tensors without values, and what they launch is compiled instead. It needs a process of its
own: launches are caught for good, and Triton must not be interpreting.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from awsrn_fast.kernels import _gpu
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from awsrn_fast import backends, ops
from awsrn_fast.backends import Call

CAPABILITIES = {"sm_75": (7, 5), "sm_80": (8, 0), "sm_86": (8, 6), "sm_89": (8, 9), "sm_90": (9, 0)}
WITH_PRODUCTS = ("sm_80", "sm_86", "sm_89", "sm_90", "gfx90a", "gfx942")
WITHOUT_PRODUCTS = ("sm_75", "sm_80", "sm_90", "gfx942")
"""Where there is nothing but loads, sums and stores, the code differs by generation only."""
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
PRODUCTS = r"mma\.sync|wgmma\.mma_async|v_mfma"
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class Launch(NamedTuple):
    """A kernel with what its machine code depends on; hashable."""

    kernel: JITFunction
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[int, Any], ...]
    divisible: tuple[int, ...]
    options: tuple[tuple[str, int], ...]


def main(names: list[str]) -> None:
    json.dump([entry for op in names for arch in archs(op) for entry in compiled(op, arch)], sys.stdout, indent=1)


def archs(op: str) -> tuple[str, ...]:
    """Architectures whose code is looked at."""
    return WITH_PRODUCTS if refused(op, "sm_75", torch.float16) else WITHOUT_PRODUCTS


def compiled(op: str, arch: str) -> Iterator[dict[str, Any]]:
    """What each launch of the op's benchmark shapes compiles to on an architecture."""
    for dtype, name in DTYPES.items():
        if refused(op, arch, dtype):
            continue
        for launch in dict.fromkeys(launches(op, arch, dtype)):
            yield {"op": op, "kernel": launch.kernel.__name__, "arch": arch, "dtype": name, **facts(launch, arch)}


def refused(op: str, arch: str, dtype: torch.dtype) -> list[str]:
    call = Call("cuda", CAPABILITIES.get(arch), dtype, (1, 32, 48, 48))
    return backends.reasons_against(op, "triton", call)


def launches(op: str, arch: str, dtype: torch.dtype) -> list[Launch]:
    """Forward and backward of the op's benchmark shapes, in NCHW and in channels_last."""
    caught: list[Launch] = []
    JITFunction.run = lambda kernel, *args, grid, warmup, **named: caught.append(caught_launch(kernel, args, named))
    _gpu.gpu = lambda x: _gpu.Gpu(arch, arch)
    for case in import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS:
        for layout in (torch.contiguous_format, torch.channels_last):
            tensors = {name: empty(shape, dtype, layout) for name, shape in case.shapes.items()}
            given = inspect.signature(ops.ROWS[op]).bind(**tensors, **case.options)
            given.apply_defaults()
            LAUNCHED[op](import_module(f"awsrn_fast.kernels.{op}"), *given.args)
    return caught


def empty(shape: tuple[int, ...] | None, dtype: torch.dtype, layout: torch.memory_format) -> Tensor | None:
    if shape is None:
        return None
    layout = layout if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)


def _gated_residual(kernels: Any, *inputs: Any) -> None:
    y, mean = kernels.gated_residual_fwd(*inputs)
    kernels.gated_residual_bwd(y, mean, *inputs, [True] * 5)


def _channel_attention(kernels: Any, *inputs: Any) -> None:
    gate = kernels.channel_attention_fwd(*inputs)
    kernels.channel_attention_bwd(gate, *inputs, [True] * 5)


LAUNCHED = {"gated_residual": _gated_residual, "channel_attention": _channel_attention}


def caught_launch(kernel: JITFunction, args: tuple[Any, ...], named: dict[str, Any]) -> Launch:
    """The launch as Triton would specialise it: 1 and None are constants, multiples of 16 are known as such."""
    options = {name: named.pop(name) for name in ("num_warps", "num_stages") if name in named}
    values = inspect.signature(kernel.fn).bind(*args, **named).arguments
    signature, constants, divisible = [], [], []
    for index, (param, value) in enumerate(zip(kernel.params, values.values(), strict=True)):
        kind = "constexpr"
        if isinstance(value, Tensor):
            kind = "*" + DTYPES[value.dtype]
        elif isinstance(value, float) and not param.is_constexpr:
            kind = "fp32"
        elif type(value) is int and not param.is_constexpr and value != 1:
            kind = "i32" if -(2**31) <= value < 2**31 else "i64"
        if kind == "constexpr":
            constants.append((index, value))
        elif isinstance(value, Tensor) or (type(value) is int and value % 16 == 0):
            divisible.append(index)
        signature.append((param.name, kind))
    return Launch(kernel, tuple(signature), tuple(constants), tuple(divisible), tuple(options.items()))


def facts(launch: Launch, arch: str) -> dict[str, Any]:
    """Registers, spills, shared memory and matrix instructions of the compiled kernel."""
    source = ASTSource(
        launch.kernel,
        dict(launch.signature),
        {(index,): value for index, value in launch.constants},
        {(index,): [["tt.divisibility", 16]] for index in launch.divisible},
    )
    target = GPUTarget("cuda", int(arch[3:]), 32) if arch.startswith("sm_") else GPUTarget("hip", arch, 64)
    made = triton.compile(source, target=target, options=dict(launch.options))
    text = made.asm["ptx" if target.backend == "cuda" else "amdgcn"]
    spilled = _spilled_nvidia(made.asm["cubin"]) if target.backend == "cuda" else _spilled_amd(text)
    constants = {launch.signature[index][0]: str(value) for index, value in launch.constants}
    return {
        "constants": constants,
        "options": dict(launch.options),
        "shared": made.metadata.shared,
        "spilled": spilled,
        "products": len(re.findall(PRODUCTS, text)),
        "asks_for_products": "tt.dot" in made.asm["ttir"],
    }


def _spilled_nvidia(cubin: bytes) -> int:
    """Bytes a thread keeps on its stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.search(r"STACK:(\d+) .*LOCAL:(\d+)", said).groups())


def _spilled_amd(text: str) -> int:
    """Registers that a wave spills."""
    return sum(int(count) for count in re.findall(r"\.[sv]gpr_spill_count:\s+(\d+)", text))


if __name__ == "__main__":
    main(sys.argv[1:])
