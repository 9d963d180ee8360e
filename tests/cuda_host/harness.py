"""The ``cuda`` backend on CPU tensors, all the way: schema, pointers, launch, gradients, with the harness's module."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import host_build
import pytest
import torch

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda, _library


def instances() -> list[Any]:
    """The kernels' instances, as parameters (arch, dtype): what runs on sm_75, and what from sm_80 on is another."""
    pairs = [(75, torch.float32), (75, torch.float16), (80, torch.float16), (80, torch.bfloat16)]
    return [pytest.param(arch, dtype, id=f"sm_{arch}-{str(dtype).removeprefix('torch.')}") for arch, dtype in pairs]


@contextmanager
def cuda_on_cpu(op: str, arch: int, variant: str = "plain") -> Iterator[ModuleType]:
    """Within it ``use_backend(<op>="cuda")`` runs the CUDA kernels, compiled by g++, on CPU tensors.

    Args:
        op: the row.
        arch: the architecture whose instances run, 75 or 80.
        variant: of :data:`host_build.VARIANTS`.

    Yields:
        The module.
    """
    try:
        module = host_build.module(variant)
    except FileNotFoundError as missing:
        pytest.skip(f"no {missing}")
    backend = backends.registered(op)["cuda"]

    def reasons_against(call: backends.Call) -> list[str]:
        return backend.reasons_against(call._replace(device="cuda", capability=divmod(arch, 10)))

    library = torch.library.Library("awsrn_fast", "IMPL")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "cuda", module)
        patch.setattr(_cuda, "target", lambda tensor: (0, 0, arch))
        for (name, device), kernel in list(_library.KERNELS.items()):
            if device == "cuda" and (name == op or name.startswith(f"{op}_")):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # that it overrides, which is meant
                    library.impl(name, kernel, "CPU", allow_override=True)
        backends.register(op, "cuda", backend.run, reasons_against)
        try:
            yield module
        finally:
            module.set_thread_order(0)
            module.set_running(True)
            backends.register(op, "cuda", *backend)
            library._destroy()
