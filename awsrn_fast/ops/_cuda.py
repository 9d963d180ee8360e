"""Common parts of the ops' CUDA kernels: when they can run, and the target of a launch."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.backends import Call

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def code_for(capability: tuple[int, int]) -> int | None:
    """The architecture, 80 for 8.0, whose code in the library runs on a GPU of this compute capability; None: none.

    Machine code runs on its own major version from its minor version on; the last architecture's PTX, which the driver
    compiles, on all that are later. A kernel's instance is chosen by this, not by the GPU: the body of an instance for
    8.0 is empty in code for 7.5.
    """
    built = [int(arch.replace(".", "")) for arch in native.cuda.archs.split(";")]
    device = 10 * capability[0] + capability[1]
    exact = [arch for arch in built if arch // 10 == capability[0] and arch <= device]
    return max(exact, default=built[-1] if built[-1] <= device else None)


def reasons_against(call: Call) -> list[str]:
    """Reasons why the CUDA kernels cannot run ``call``; empty if they can."""
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
        elif native.cuda is not None:
            code = code_for(call.capability)
            build = f"; AWSRN_FAST_CUDA_ARCHS={major}.{minor} pip install builds for it"
            if code is None:
                reasons.append(f"built for {native.cuda.archs}, not for compute capability {major}.{minor}{build}")
            elif call.dtype == torch.bfloat16 and code < 80:
                reasons.append(f"bfloat16 in a library built for {native.cuda.archs} (8.0 and later only){build}")
    return reasons


def target(tensor: Tensor) -> tuple[int, int, int]:
    """A launcher's last arguments: device index, its current stream, and the architecture whose code runs there."""
    device = tensor.device
    code = code_for(torch.cuda.get_device_capability(device))
    if code is None:  # as where an op of torch.ops.awsrn_fast is called past the choice of a backend
        raise RuntimeError(f"awsrn_fast: the CUDA kernels were built for {native.cuda.archs}, not for {device}'s GPU")
    return device.index, torch.cuda.current_stream(device).cuda_stream, code


def dtype_code(dtype: torch.dtype) -> int:
    codes = {torch.float32: native.cuda.FLOAT32, torch.float16: native.cuda.FLOAT16}
    return codes.get(dtype, native.cuda.BFLOAT16)


def values_of(values: Tensor | None) -> tuple[int, bool]:
    """``Values`` of csrc/cuda/values.h: their address, and whether they are fp32, whatever the maps are in."""
    return (0, False) if values is None else (values.data_ptr(), values.dtype == torch.float32)


def workspace(floats: int, like: Tensor) -> Tensor:
    """Room for a kernel's partial sums, from torch's allocator: a CUDA graph can capture it."""
    return torch.empty(floats, dtype=torch.float32, device=like.device)
