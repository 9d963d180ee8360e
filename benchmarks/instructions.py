"""Restriction of peers to the instruction set in ``AWSRN_FAST_ISA``, to benchmark for a lesser CPU on a newer one.

Import it before torch: the libraries read their environment variables once.
"""

from __future__ import annotations

import os

SWITCHES = {
    "portable": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
}
"""Environment variables of PyTorch's kernels, of oneDNN (in PyTorch and OpenVINO) and of MKL. ONNX Runtime has none."""


def hold_peers() -> None:
    """Set those variables that are not set."""
    for name, value in SWITCHES.get(os.environ.get("AWSRN_FAST_ISA", ""), {}).items():
        os.environ.setdefault(name, value)
