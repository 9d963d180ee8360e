"""Compiles the Triton kernels without a GPU: ``python compile_ahead.py [--all] OP ...`` prints JSON, a line a kernel.

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
from awsrn_fast.ops.non_local.cases import _case as non_local_case

CAPABILITIES = {"sm_75": (7, 5), "sm_80": (8, 0), "sm_86": (8, 6), "sm_89": (8, 9), "sm_90": (9, 0)}
EVERY = ("sm_80", "sm_86", "sm_89", "sm_90", "gfx90a", "gfx942")
"""For --all. By default sm_86 stands for sm_89, gfx942 for gfx90a, and one 16-bit dtype for the other."""
ARCHS = {"fp16": ("sm_80", "sm_90", "gfx942"), "fp32": ("sm_80", "sm_90"), "bf16": ("sm_86",)}
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
    every = "--all" in names
    for op in (name for name in names if name != "--all"):
        for dtype, name in DTYPES.items():
            for arch in archs(op, name, every):
                for launch in dict.fromkeys(launches(op, arch, dtype)):
                    known = {"op": op, "kernel": launch.kernel.__name__, "arch": arch, "dtype": name}
                    print(json.dumps(known | facts(launch, arch)), flush=True)


def archs(op: str, dtype: str, every: bool) -> tuple[str, ...]:
    """Architectures whose code is looked at."""
    if refused(op, "sm_75", torch.float16):  # it has products
        return EVERY if every else ARCHS[dtype]
    return WITHOUT_PRODUCTS


def refused(op: str, arch: str, dtype: torch.dtype, shape: tuple[int, ...] = (1, 32, 48, 48)) -> list[str]:
    return backends.reasons_against(op, "triton", Call("cuda", CAPABILITIES.get(arch), dtype, shape))


LAYOUTS = {"gated_residual": (torch.contiguous_format, torch.channels_last)}
"""Where the tile differs between the layouts."""
MORE = {"non_local": [non_local_case("d=64", 1, 64, 64, 64, 64)]}
"""Channels that the benchmarks lack."""


def launches(op: str, arch: str, dtype: torch.dtype) -> list[Launch]:
    """Forward and backward of the op's benchmark shapes, in NCHW and in channels_last."""
    caught: list[Launch] = []
    JITFunction.run = lambda kernel, *args, grid, warmup, **named: caught.append(caught_launch(kernel, args, named))
    _gpu.gpu = lambda x: _gpu.Gpu(arch, arch)
    cases = import_module(f"awsrn_fast.ops.{op}.cases")
    for case in (*cases.BENCHMARKS, *MORE.get(op, [])):
        if refused(op, arch, dtype, next(iter(case.shapes.values()))):
            continue
        for layout in LAYOUTS.get(op, (torch.channels_last,)):
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


def _dwpw_attention(kernels: Any, *inputs: Any) -> None:
    y = kernels.dwpw_attention_fwd(*inputs)
    kernels.dwpw_attention_bwd(y, *inputs[:-1], [True] * 7)


def _non_local(kernels: Any, x: Tensor, w_theta: Tensor, *others: Any) -> None:
    n, _, h, w = x.shape
    qkv = x.new_empty((n, h * w, 3 * w_theta.shape[0]))
    outputs = kernels.non_local_attend_fwd(qkv, h, w, *others[-2:])
    kernels.non_local_attend_bwd(outputs[0], qkv, *outputs, h, w, *others[-2:])


def _awms(kernels: Any, *inputs: Any) -> None:
    y = kernels.awms_fwd(*inputs)
    kernels.awms_bwd(y, *inputs[:8], [True] * 5)


def _conv3x3(kernels: Any, x: Tensor, weight: Tensor, bias: Tensor, *others: Any) -> None:
    y = kernels.conv3x3_fwd(x, weight, bias, *others[:3])
    kernels.conv3x3_bwd(y, x, weight, *others[:3], [True] * 3)


def _gated_pair(kernels: Any, *inputs: Any) -> None:
    inputs = inputs[:5]
    y = kernels.gated_pair_fwd(*inputs)
    kernels.gated_pair_bwd(y, y, *inputs[:4], [True] * 5)


def _wide_residual(kernels: Any, *inputs: Any) -> None:
    inputs = inputs[:8]
    y, mean, f = kernels.wide_residual_fwd(*inputs, True)
    kernels.wide_residual_bwd(y, mean, *inputs[:4], *inputs[5:], f, [True] * 8)


LAUNCHED = {
    "conv3x3": _conv3x3,
    "gated_pair": _gated_pair,
    "wide_residual": _wide_residual,
    "awms": _awms,
    "non_local": _non_local,
    "gated_residual": _gated_residual,
    "channel_attention": _channel_attention,
    "dwpw_attention": _dwpw_attention,
}


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
