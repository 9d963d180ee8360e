"""What the ops' CUDA kernels share: when they can run, and where a launch goes."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def reasons_against(call: Call) -> list[str]:
    """Why the CUDA kernels cannot run ``call``; empty if they can."""
    reasons = []
    if native.cuda is None:
        reasons.append(native.cuda_reason)
    if call.device != "cuda":
        reasons.append(f"tensors on {call.device} (CUDA only)")
    elif torch.version.hip is not None:
        reasons.append("this PyTorch is for ROCm")
    if call.dtype not in DTYPES:
        reasons.append(f"{str(call.dtype).removeprefix('torch.')} (float32, float16 and bfloat16 only)")
    if call.capability is not None:
        major, minor = call.capability
        if call.capability < (7, 5):
            reasons.append(f"compute capability {major}.{minor} (7.5 and later only)")
        elif call.dtype == torch.bfloat16 and major < 8:
            reasons.append(f"bfloat16 on compute capability {major}.{minor} (8.0 and later only)")
    return reasons


def target(tensor: Tensor) -> tuple[int, int, int]:
    """A launcher's last arguments: device index, its current stream, and its architecture, 75 for 7.5."""
    device = tensor.device
    major, minor = torch.cuda.get_device_capability(device)
    return device.index, torch.cuda.current_stream(device).cuda_stream, 10 * major + minor


def dtype_code(dtype: torch.dtype) -> int:
    codes = {torch.float32: native.cuda.FLOAT32, torch.float16: native.cuda.FLOAT16}
    return codes.get(dtype, native.cuda.BFLOAT16)


def workspace(floats: int, like: Tensor) -> Tensor:
    """Room for a kernel's partial sums, from torch's allocator: a CUDA graph can capture it."""
    return torch.empty(floats, dtype=torch.float32, device=like.device)
