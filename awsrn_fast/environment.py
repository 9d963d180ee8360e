"""Facts about this installation and machine as JSON-compatible data."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import pynvml
import torch

import awsrn_fast
from awsrn_fast import backends, native, ops

PACKAGES = ("torch", "triton", "numpy", "pillow", "safetensors", "nvidia-ml-py")


def report() -> dict[str, Any]:
    """The whole report; missing parts carry a ``reason``."""
    gpus = _gpus()
    return {
        "versions": _versions(),
        "native": _native(),
        "cpu": _cpu(),
        "gpus": gpus,
        "ops": {name: _choices(name) for name in ops.ROWS},
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"awsrn_fast": awsrn_fast.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions | {"torch's CUDA": torch.version.cuda, "torch's ROCm": torch.version.hip}


def _native() -> dict[str, dict[str, Any]]:
    said = native.build_info()
    loaded = {"cpu": (native.cpu, native.cpu_reason), "cuda": (native.cuda, native.cuda_reason)}
    return {
        name: {
            "loaded": module is not None,
            "reason": reason or None,
            "file": module.__file__ if module else None,
            "build": said.get(name),
        }
        for name, (module, reason) in loaded.items()
    }


def _cpu() -> dict[str, Any]:
    return {
        "model": _cpu_model(),
        "isa": native.isa,
        "isas": native.cpu.available_isas() if native.cpu else [],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> dict[str, Any]:
    """NVIDIA GPUs as reported by the driver, independent of torch's build."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"devices": [], "driver": None, "reason": f"no NVIDIA driver: {error}"}
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return {
            "devices": [_gpu(handle) for handle in handles],
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "reason": None if handles else "the NVIDIA driver sees no GPU",
        }
    except pynvml.NVMLError as error:
        return {"devices": [], "driver": None, "reason": f"the NVIDIA driver does not answer: {error}"}
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: Any) -> dict[str, Any]:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "name": pynvml.nvmlDeviceGetName(handle),
        "capability": f"{major}.{minor}",
        "memory_mib": pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
    }


def _choices(op: str) -> list[dict[str, Any]]:
    """The chosen backend of ``op`` for each device that torch can use, for maps of the network's size."""
    calls = [backends.Call("cpu", None, torch.float32, (1, 32, 48, 48))]
    for index in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(index)
        calls.append(backends.Call("cuda", capability, torch.float16, (1, 32, 48, 48)))
    choices = []
    for call in dict.fromkeys(calls):
        explanation = backends.explain(op, call)
        where = call.device if call.capability is None else f"{call.device} {call.capability[0]}.{call.capability[1]}"
        choices.append(
            {
                "device": where,
                "dtype": str(call.dtype).removeprefix("torch."),
                "backend": explanation.chosen,
                "against": explanation.against,
            }
        )
    return choices
