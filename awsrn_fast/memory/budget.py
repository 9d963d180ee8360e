"""Device memory required for an allocator peak, its assumptions, and parsing of sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from awsrn_fast.errors import UserError

from .prediction import Prediction

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Assumptions:
    """Overheads that fake tensors cannot show. None was measured on the device in question; each can be overridden.

    Attributes:
        context: bytes allocated before the first tensor.
        workspace: bytes that libraries hold permanently.
        scratch: largest workspace of a convolution, relative to the largest tensor.
        fragmentation: share of the allocator's bytes lost to fragmentation.
    """

    context: int
    workspace: int
    scratch: float
    fragmentation: float


ASSUMED = {
    "cuda": Assumptions(context=500 * MIB, workspace=40 * MIB, scratch=1.0, fragmentation=0.10),
    "cpu": Assumptions(context=300 * MIB, workspace=0, scratch=1.0, fragmentation=0.10),
}

REASONS = {
    "cuda": {
        "context": "CUDA context and kernels: about 300 MiB since CUDA 11.7 loads kernels when they are needed "
        "(pytorch/pytorch#107667), and those of cuDNN and cuBLAS",
        "workspace": "cuBLAS 8.1 MiB (4 MiB x 2 + 128 KiB, torch's default), 32 MiB and more on Hopper",
        "scratch": "cuDNN's convolutions that change the layout or pad channels copy one operand; torch takes its "
        "heuristic's choice, not the algorithms with the largest workspaces",
        "fragmentation": "torch's caching allocator keeps segments of 2 and 20 MiB and what a former batch size left",
    },
    "cpu": {
        "context": "Python, torch and this package: 235 MiB resident when imported, more once kernels run",
        "workspace": "oneDNN keeps little between calls",
        "scratch": "oneDNN copies at most one operand to another layout; not torch's allocator's, so not predicted",
        "fragmentation": "what malloc keeps of freed blocks",
    },
}
"""Source of each assumption, by device."""


@dataclass(frozen=True)
class Need:
    """Required device memory in bytes, by purpose."""

    allocated: int
    context: int
    workspace: int
    margin: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.allocated + self.context + self.workspace + self.margin


def need(prediction: Prediction, assumed: Assumptions) -> Need:
    """Required device memory for a predicted peak."""
    workspace = assumed.workspace + round(assumed.scratch * prediction.largest)
    return Need(prediction.peak, assumed.context, workspace, round(assumed.fragmentation * prediction.peak))


def parse_size(text: str) -> int:
    """Bytes of "11GB", "512 MiB", "0.5g"; every unit is a power of 1024, as vendors and torch count.

    Raises:
        UserError: not a valid size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?\s*", text, re.IGNORECASE)
    size = found and round(float(found[1]) * 1024 ** ("kmgt".index(found[2].lower()) + 1))
    if not size:
        raise UserError(f"{text!r} is not a size: write a number with its unit, such as 11GB or 512MB")
    return size


def show_size(size: int) -> str:
    """A byte count for display: "812 MB", "10.3 GB"; powers of 1024."""
    return f"{size / GIB:.2f} GB" if size >= GIB else f"{size / MIB:.0f} MB"
