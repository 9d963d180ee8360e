"""Rounding and products, on a GPU and under Triton's interpreter."""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Whether Triton's interpreter runs (kernels on CPU tensors, for tests): it truncates bf16 and multiplies its bits."""


@triton.jit
def narrow(x, dtype: tl.constexpr):
    """fp32 rounded to the nearest value of ``dtype``."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        x = bits.to(tl.uint32).to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def product(a, b, sums, PRECISION: tl.constexpr):
    """``sums + a @ b`` in fp32, for a and b of one dtype."""
    if INTERPRETED:
        # In fp64: NumPy sums a product and its transpose in different orders, tensor cores in the same.
        sums = tl.dot(a.to(tl.float32).to(tl.float64), b.to(tl.float32).to(tl.float64), sums.to(tl.float64))
        sums = sums.to(tl.float32)
    else:
        sums = tl.dot(a, b, sums, input_precision=PRECISION)
    return sums


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


def precision(dtype: torch.dtype, arch: str) -> str:
    """``PRECISION`` of a kernel's products: fp32 on NVIDIA's tensor cores as three TF32 products, with 22 bits."""
    return "tf32x3" if dtype == torch.float32 and arch.startswith("sm_") else "ieee"
