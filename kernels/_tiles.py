"""Tile of a launch: each kernel's default by architecture, dtype, channels and layout, or a measured one.

``python -m awsrn_fast.tune`` measures the candidates on a GPU and writes ``tuned/<gpu>.json``. They are read when this
module is imported; nothing is read or measured at a call.
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
"""Block sizes and launch options of a kernel, by the names of its arguments. ``VALUES``: values per program,
instead of block sizes, which would also depend on the map's size."""

SPACES: dict[str, dict[str, tuple[int, ...]]] = {
    "awms_fwd": {
        "BLOCK_O": (16, 32, 64),
        "BLOCK_P": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (2, 3, 4),
    },
    "channel_attention_fwd": {"num_warps": (1, 2, 4, 8)},
    "channel_attention_bwd": {"num_warps": (1, 2, 4, 8)},
    "channel_attention_bwd_weights": {"num_warps": (1, 2, 4, 8)},
    "conv_fwd": {
        "BLOCK_O": (16, 32, 64),
        "BLOCK_P": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (2, 3, 4),
    },
    "conv_bwd_weight": {
        "BLOCK_M": (32, 64, 128),
        "BLOCK_P": (16, 32, 64),
        "num_warps": (4, 8),
        "num_stages": (1, 2, 3),
    },
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
"""Search space of tuning: the values of each parameter of a kernel's tile."""

MOST_CHANGES = 2
"""Most parameters in which a candidate may differ from the kernel's default."""

SHARED = {"sm_75": 64, "sm_80": 163, "sm_86": 99, "sm_89": 99, "sm_90": 227, "gfx90a": 64, "gfx942": 64}
"""KiB of shared memory per block (CUDA programming guide, technical specifications; AMD's CDNA ISA)."""
LEAST_SHARED = 64
"""KiB on architectures that are not in the table."""

DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
TUNED = _tuned.read_all(SPACES)
"""Measured tiles by GPU and problem name."""
_tried: dict[str, Tiles] = {}


class Problem(NamedTuple):
    """What determines the tile of a launch: channels in the kernel's order, and the layout where it has maps."""

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
    """Choice of a kernel's tiles.

    Attributes:
        kernel: a key of :data:`SPACES`.
        own: the kernel's default; a pure function.
        fits: whether a tile suits the problem's channels, and its operands so many bytes of shared memory. What the
            compiler adds to them is not known beforehand: a tile that is too large after all is refused when tried.
    """

    kernel: str
    own: Callable[[Problem], Tiles]
    fits: Callable[[Problem, Tiles, int], bool] = lambda problem, tiles, shared: True

    def __call__(
        self, gpu: Gpu, dtype: torch.dtype, channels: tuple[int, ...], layout: torch.memory_format | None = None
    ) -> Tiles:
        """The tile of a launch: the one being tried, else the measured one, else the kernel's default."""
        problem = Problem(self.kernel, gpu, dtype, channels, layout)
        other = _tried or TUNED.get(gpu.name)
        return self.own(problem) | (other.get(problem.name, {}) if other else {})

    def candidates(self, problem: Problem) -> list[Tiles]:
        """Tiles to measure: the kernel's default, then those of its space with at most :data:`MOST_CHANGES` differences
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
    """Context in which ``problem`` is launched with ``tiles``, and everything else with the defaults."""
    _tried[problem.name] = tiles
    try:
        yield
    finally:
        del _tried[problem.name]


def padded(channels: int) -> int:
    """Channels padded for products on tensor cores: a power of two, at least 16."""
    return max(16, 1 << (channels - 1).bit_length())
