"""The native libraries, loaded once, and reasons for missing ones.

``cpu`` and ``cuda`` are the extension modules or None; ``cpu_reason`` and ``cuda_reason`` are then half a sentence
saying why, and empty otherwise. ``AWSRN_FAST_ISA`` is read here, once, and names the instruction set to use instead
of the widest.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch  # noqa: F401  first: its OpenMP library, already loaded, is then the one that ours uses, with one pool

from .errors import UserError
from .source_id import source_id

_CSRC = Path(__file__).resolve().parent.parent / "csrc"


def build_info() -> dict[str, str]:
    """Build information on "cpu" and "cuda": targets, or why it was not built. Empty if there was no build."""
    for folder in sys.modules[__package__].__path__:
        path = Path(folder, "_build_info.json")
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    return {}


def _load(key: str) -> tuple[ModuleType | None, str]:
    name = f"{__package__}._{key}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None, build_info().get(key, "not built: install the package with pip install . to build it")
    except ImportError as error:
        return None, f"does not load: {error}"
    # An installed library matches this file; in a source tree it may be from another state of the sources.
    if (_CSRC / "bindings.cpp").is_file() and module.build_id != source_id(_CSRC):
        return None, f"{module.__file__} was built from other sources than {_CSRC}: pip install the package again"
    return module, ""


def too_old(driver: int, runtime: int) -> str:
    """Reason why kernels with this CUDA runtime (13000: 13.0) cannot run under this driver; empty: they can.

    A driver runs every runtime of its own major version. A driver of 0 means that there is none; then there are no CUDA
    tensors either.
    """
    if not driver or driver // 1000 >= runtime // 1000:
        return ""
    versions = [f"{v // 1000}.{v % 1000 // 10}" for v in (driver, runtime)]
    return (
        f"the NVIDIA driver supports CUDA {versions[0]}, and the kernels were built with {versions[1]}: "
        "update the driver, or build with a toolkit of its version"
    )


def _load_cuda() -> tuple[ModuleType | None, str]:
    module, reason = _load("cuda")
    if module is not None:
        reason = too_old(module.driver_version(), module.runtime_version)
    return (None if reason else module), reason


def _choose_isa(module: ModuleType) -> str:
    asked = os.environ.get("AWSRN_FAST_ISA")
    if asked:
        try:
            module.set_isa(asked)
        except ValueError as error:
            raise UserError(f"AWSRN_FAST_ISA={asked}: {error}") from error
    return module.isa()


# Any: compiled modules have no types; that a library is there is asked before an op is given a kernel of it.
cpu: Any
cuda: Any
cpu, cpu_reason = _load("cpu")
cuda, cuda_reason = _load_cuda()
isa: str | None = _choose_isa(cpu) if cpu else None
"""The instruction set of the CPU kernels in use: portable, avx2, avx512 or avx512_bf16."""
