"""Common parts of the ops' Triton kernels: their definition for torch.library, and when they can run.

An op ``awsrn_fast::<op>_triton`` is opaque, as those of the CUDA kernels are: torch.compile keeps whole graphs, and
never traces the launch. torch.library.triton_op would have Inductor see the kernels, but it takes no schema (it reads
the annotations, differently from version to version), imports torch._dynamo in every process that calls an op, and
launches on sizes that are symbols; the interpreter's kernels cannot pass through it, so that nothing of it could be
tested without a GPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from math import prod
from types import ModuleType
from typing import Any

import torch

from awsrn_fast.backends import Call

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether the kernels run on CPU tensors, as Triton itself decides when they are imported."""
MOST_POSITIONS = 2**31 - 1
"""Pixels of a map: the kernels count them in 32 bits."""


def launches(function: str, adapted: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Functions that run a launch function, by device type.

    Args:
        function: in ``awsrn_fast.kernels``, as module.function.
        adapted: what takes it and gives a function of the op's arguments by position.
    """
    module, name = function.split(".")

    @functools.cache
    def run() -> Callable[..., Any]:
        # Imported at the first call: Triton's import is time that a run on the CPU need not spend.
        return adapted(getattr(importlib.import_module(f"awsrn_fast.kernels.{module}"), name))

    def launch(*arguments: Any) -> Any:
        x = next(argument for argument in arguments if isinstance(argument, torch.Tensor))
        if x.device.type == "cpu":
            return run()(*arguments)
        with torch.get_device_module(x.device).device(x.device):  # Triton launches on the current one
            return run()(*arguments)

    return dict.fromkeys(("cuda", "xpu", *(("cpu",) if INTERPRETED else ())), launch)


def limits() -> ModuleType:
    """Size limits of the kernels."""
    return importlib.import_module("awsrn_fast.kernels.limits")


def reasons_against(call: Call) -> list[str]:
    """Reasons why kernels without matrix products cannot run ``call``; empty if they can."""
    reasons = []
    if importlib.util.find_spec("triton") is None:
        reasons.append("Triton is not installed: pip install triton")
    if call.device == "cpu" and not INTERPRETED:
        reasons.append("tensors on cpu (GPU only)")
    if call.dtype not in DTYPES:
        reasons.append(f"{str(call.dtype).removeprefix('torch.')} (float32, float16 and bfloat16 only)")
    if call.capability is not None and torch.version.hip is None:
        major, minor = call.capability
        if call.capability < (7, 5):
            reasons.append(f"compute capability {major}.{minor} (7.5 and later only)")
        elif call.dtype == torch.bfloat16 and major < 8:
            reasons.append(f"bfloat16 on compute capability {major}.{minor} (8.0 and later only)")
    if prod(call.shape[2:]) > MOST_POSITIONS:
        reasons.append(f"more than {MOST_POSITIONS} pixels")
    return reasons


def reasons_against_products(call: Call) -> list[str]:
    """The same as :func:`reasons_against`, for kernels with matrix products."""
    reasons = reasons_against(call)
    if call.capability is not None and call.capability < (8, 0) and torch.version.hip is None:
        major, minor = call.capability
        reasons.append(f"no tensor cores from Triton on compute capability {major}.{minor} (8.0 and later only)")
    return reasons
