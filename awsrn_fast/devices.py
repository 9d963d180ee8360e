"""Parsing of device and dtype names, and the meaning of "auto" on this machine."""

from __future__ import annotations

import torch

from .errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}
"""Aliases of the dtypes."""


def dtype_name(text: str) -> str:
    """The key of :data:`DTYPES` for one of its aliases, in any case; other text unchanged."""
    return ALIASES.get(text.lower(), text)


def pick_device(name: str) -> torch.device:
    """``auto`` (the first GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:  # torch's message lists twenty device types
        raise UserError(f"no device {name!r}: use auto, cpu, cuda or cuda:N") from error
    try:
        torch.empty(0, dtype=torch.float32, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto``, a key of :data:`DTYPES` or an alias.

    Auto is the fastest dtype that trains safely: bf16 where the hardware computes in it (Ampere and later, CPUs with
    AVX-512 BF16 or AMX), fp16 with gradient scaling on older GPUs such as Turing, fp32 elsewhere.

    Raises:
        UserError: an unknown name, or float16 on a CPU.
    """
    name = dtype_name(name)
    if name == "auto":
        return _fast_dtype(device)
    if name not in DTYPES:
        raise UserError(f"unknown dtype {name!r}: use auto, {', '.join(DTYPES)}")
    if name == "float16" and device.type == "cpu":
        raise UserError("dtype float16 is for GPUs; on the CPU use bfloat16 or float32")
    return DTYPES[name]


def _fast_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu" and _cpu_computes_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_computes_bfloat16() -> bool:
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and later
    if get_capabilities is not None:
        found = get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return bool(torch.cpu._is_avx512_bf16_supported())
