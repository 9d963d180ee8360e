"""The ``cuda`` backend on CPU tensors, all the way: schema, pointers, launch, gradients, with the harness's module."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import host_build
import pytest
import torch

from awsrn_fast import backends, native
from awsrn_fast.ops import _cuda, _library


@contextmanager
def cuda_on_cpu(op: str, arch: int, variant: str = "plain") -> Iterator[None]:
    """Within it ``use_backend(<op>="cuda")`` runs the CUDA kernels, compiled by g++, on CPU tensors.

    Args:
        op: the row.
        arch: the architecture whose instances run, 75 or 80.
        variant: of :data:`host_build.VARIANTS`.
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
            yield
        finally:
            backends.register(op, "cuda", *backend)
            library._destroy()
