"""The tile of a launch: each kernel's own choice by architecture, dtype, channels and layout, or one that was measured.

``python -m awsrn_fast.tune`` measures the candidates on a GPU and writes ``tuned/<gpu>.json``. Such files are read when
this module is imported; at a call nothing is read and nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

import torch

from . import _tuned
from ._gpu import Gpu

Tiles = dict[str, int]
"""Block sizes and launch options of a kernel, by the names of its arguments. ``VALUES``: so many values a program, in
place of block sizes that depend on the map's size, too."""

SPACES: dict[str, dict[str, tuple[int, ...]]] = {
    "awms_fwd": {
        "BLOCK_O": (16, 32, 64),
        "BLOCK_P": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (2, 3, 4),
    },
    "awms_bwd_weight": {
        "BLOCK_M": (32, 64, 128),
        "BLOCK_P": (16, 32, 64),
        "num_warps": (4, 8),
        "num_stages": (1, 2, 3),
    },
    "channel_attention_fwd": {"num_warps": (1, 2, 4, 8)},
    "channel_attention_bwd": {"num_warps": (1, 2, 4, 8)},
    "channel_attention_bwd_weights": {"num_warps": (1, 2, 4, 8)},
    "dwpw_attention_fwd": {"BLOCK_P": (16, 32, 64, 128), "num_warps": (4, 8), "num_stages": (1, 2)},
    "dwpw_attention_bwd": {"BLOCK_P": (16, 32, 64), "num_warps": (4, 8), "num_stages": (1, 2)},
    "dwpw_attention_bwd_stencil": {"VALUES": (1024, 2048, 4096, 8192), "num_warps": (2, 4, 8)},
    "gated_residual_fwd": {"VALUES": (1024, 2048, 4096, 8192), "num_warps": (2, 4, 8)},
    "gated_residual_bwd": {"VALUES": (1024, 2048, 4096, 8192), "num_warps": (2, 4, 8)},
    "non_local_fwd": {
        "BLOCK_Q": (32, 64, 128),
        "BLOCK_K": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (1, 2, 3),
    },
    "non_local_bwd_query": {
        "BLOCK_Q": (16, 32, 64),
        "BLOCK_K": (16, 32, 64),
        "num_warps": (4, 8),
        "num_stages": (1, 2, 3),
    },
    "non_local_bwd_key": {
        "BLOCK_Q": (16, 32, 64),
        "BLOCK_K": (16, 32, 64),
        "num_warps": (4, 8),
        "num_stages": (1, 2, 3),
    },
}
"""What tuning may change of a kernel's tile, and to what."""

MOST_CHANGES = 2
"""Of a candidate against the kernel's own choice: a tile that differs in more is another kernel's."""

SHARED = {"sm_75": 64, "sm_80": 163, "sm_86": 99, "sm_89": 99, "sm_90": 227, "gfx90a": 64, "gfx942": 64}
"""KiB of shared memory that one block can have (CUDA programming guide, technical specifications; AMD's CDNA ISA)."""
LEAST_SHARED = 64
"""KiB on an architecture that the table lacks."""

DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
TUNED = _tuned.read_all(SPACES)
"""Measured tiles by the GPU's name and the problem's."""
_tried: dict[str, Tiles] = {}


class Problem(NamedTuple):
    """What the tile of a launch depends on: channels in the kernel's order, and the layout where it has maps."""

    kernel: str
    gpu: Gpu
    dtype: torch.dtype
    channels: tuple[int, ...]
    layout: torch.memory_format | None = None

    @property
    def name(self) -> str:
        """``awms_fwd fp16 32x48 channels_last``, the key of a tile in ``tuned/<gpu>.json``."""
        layout = [] if self.layout is None else [str(self.layout).removeprefix("torch.").removesuffix("_format")]
        return " ".join([self.kernel, DTYPES[self.dtype], "x".join(map(str, self.channels)), *layout])


class Tiling(NamedTuple):
    """How the tiles of a kernel are chosen.

    Attributes:
        kernel: a key of :data:`SPACES`.
        own: the kernel's own choice; a pure function.
        fits: whether a tile suits the problem's channels, and its operands so many bytes of shared memory. What the
            compiler adds to them is not known beforehand: a tile that is too large after all is refused when tried.
    """

    kernel: str
    own: Callable[[Problem], Tiles]
    fits: Callable[[Problem, Tiles, int], bool] = lambda problem, tiles, shared: True

    def __call__(
        self, gpu: Gpu, dtype: torch.dtype, channels: tuple[int, ...], layout: torch.memory_format | None = None
    ) -> Tiles:
        """The tile of a launch: the one being tried, or else the measured one, or else the kernel's own."""
        problem = Problem(self.kernel, gpu, dtype, channels, layout)
        other = _tried or TUNED.get(gpu.name)
        return self.own(problem) | (other.get(problem.name, {}) if other else {})

    def candidates(self, problem: Problem) -> list[Tiles]:
        """Tiles to measure: the kernel's own, then those of its space with at most :data:`MOST_CHANGES` differences
        that fit the architecture. A pure function."""
        own, space = self.own(problem), SPACES[self.kernel]
        shared = 1024 * SHARED.get(problem.gpu.arch, LEAST_SHARED)
        found = [own]
        for values in product(*space.values()):
            tiles = own | dict(zip(space, values, strict=True))
            changes = sum(tiles[name] != own[name] for name in own)
            if 0 < changes <= MOST_CHANGES and self.fits(problem, tiles, shared):
                found.append(tiles)
        return found


@contextmanager
def trying(problem: Problem, tiles: Tiles) -> Iterator[None]:
    """Launch ``problem`` with ``tiles``, and everything else as the kernels themselves choose."""
    _tried[problem.name] = tiles
    try:
        yield
    finally:
        del _tried[problem.name]


def padded(channels: int) -> int:
    """Channels of a tile whose products run on tensor cores: a power of two, at least 16."""
    return max(16, 1 << (channels - 1).bit_length())
