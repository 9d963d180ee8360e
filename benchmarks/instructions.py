"""Peers held to the instruction set that ``AWSRN_FAST_ISA`` names, so that a table for a lesser CPU can be made on any.

Imported before torch: the libraries read their switches once.
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
"""Of PyTorch's own kernels, of oneDNN (PyTorch's and OpenVINO's) and of MKL. ONNX Runtime has none."""


def hold_peers() -> None:
    """Set the switches that are not set."""
    for name, value in SWITCHES.get(os.environ.get("AWSRN_FAST_ISA", ""), {}).items():
        os.environ.setdefault(name, value)
