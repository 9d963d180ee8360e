"""Context of a measurement: the machine, its measured peak rates, its momentary state."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pynvml
import torch
import torch.nn.functional as F

from awsrn_fast import native

PACKAGES = ("torch", "triton", "openvino", "onnxruntime", "numpy", "awsrn_fast")


def machine_class(device: torch.device) -> str:
    """Key into budgets.toml: instruction set of a CPU, architecture of a GPU."""
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    return f"cpu-{native.isa or 'reference'}"


def training_dtype(device: torch.device) -> torch.dtype:
    """Default training dtype on this machine: half precision with hardware support, else fp32 (no emulated bf16)."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if native.isa == "avx512_bf16" else torch.float32


def facts(device: torch.device) -> dict[str, Any]:
    """Device, driver and versions."""
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "class": machine_class(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    if device.type == "cuda":
        _handle(device)
        found |= {"driver": pynvml.nvmlSystemGetDriverVersion(), "cuda": torch.version.cuda}
    return found


def state(device: torch.device) -> dict[str, Any]:
    """Momentary load; for a GPU its clocks, temperature, power and throttling reasons. Query it right after a
    measurement. Values that the card does not report are left out."""
    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 2)}
    if device.type == "cuda":
        found |= _gpu_state(_handle(device))
    return found


class Ceilings:
    """Measured peak rates of torch: GFLOP/s per dtype in products and convolutions, GB/s in a copy.

    They are not data-sheet figures, so our kernels can exceed 100 %.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.gigabytes = self._bandwidth()
        self._gigaflops: dict[torch.dtype, float] = {}

    def gigaflops(self, dtype: torch.dtype) -> float:
        if dtype not in self._gigaflops:
            self._gigaflops[dtype] = self._arithmetic(dtype)
        return self._gigaflops[dtype]

    def _bandwidth(self) -> float:
        source = torch.ones(2**26 if self.device.type == "cuda" else 2**25, device=self.device)
        target = torch.empty_like(source)
        return 2 * source.nbytes / _seconds(lambda: target.copy_(source), self.device) / 1e9

    def _arithmetic(self, dtype: torch.dtype) -> float:
        n = 4096 if self.device.type == "cuda" else 768
        a, b = (torch.randn(n, n, device=self.device, dtype=dtype) for _ in range(2))
        product = 2 * n**3 / _seconds(lambda: a @ b, self.device)
        x, w = (torch.randn(shape, device=self.device, dtype=dtype) for shape in ((1, 128, 128, 128), (128, 128, 3, 3)))
        x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
        convolution = 2 * 9 * 128**2 * 128**2 / _seconds(lambda: F.conv2d(x, w, padding=1), self.device)
        return max(product, convolution) / 1e9


def energy_of(run: Callable[[], Any], device: torch.device, seconds: float = 0.5) -> dict[str, float]:
    """Joules per call and mean watts of the GPU while ``run`` repeats; empty if NVML reports no energy."""
    if device.type != "cuda":
        return {}
    handle = _handle(device)
    try:
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError_NotSupported:
        return {}
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        run()
        torch.cuda.synchronize(device)
        calls += 1
    taken = time.perf_counter() - start
    joules = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before) / 1e3
    return {"joules_per_call": joules / calls, "watts": joules / taken}


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    with torch.no_grad():
        run()
        taken = []
        for _ in range(7):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def _handle(device: torch.device) -> Any:
    pynvml.nvmlInit()
    # NVML numbers all devices, torch only those in CUDA_VISIBLE_DEVICES; the UUID identifies a device in both.
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def _gpu_state(handle: Any) -> dict[str, Any]:
    questions: dict[str, Callable[[], Any]] = {
        "clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        "temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        "power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "throttled": lambda: _throttled(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
    }
    found = {}
    for name, ask in questions.items():
        with suppress(pynvml.NVMLError_NotSupported):
            found[name] = ask()
    return found


def _throttled(reasons: int) -> list[str]:
    """Names of the active throttling reasons; being idle does not count."""
    prefix, no_reason = "nvmlClocksThrottleReason", ("All", "None", "GpuIdle")
    names = [name.removeprefix(prefix) for name in dir(pynvml) if name.startswith(prefix)]
    return [name for name in names if name not in no_reason and reasons & getattr(pynvml, prefix + name)]
