"""Inputs of ``non_local`` for tests and benchmarks."""

from __future__ import annotations

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, d: int, block: int | None = None, halo: int = 0) -> Case:
    shapes: dict[str, tuple[int, ...]] = {"x": (n, c, h, w)}
    for projection in ("theta", "phi", "g"):
        shapes |= {f"w_{projection}": (d, c), f"b_{projection}": (d,)}
    shapes |= {"w_z": (c, d), "b_z": (c,)}
    return Case(name, shapes, {"block": block, "halo": halo})


CASES = [
    _case("global", 2, 32, 16, 16, 16),
    _case("global, odd", 1, 10, 7, 19, 5),
    _case("block", 1, 32, 22, 13, 16, block=10, halo=3),
    _case("block, ragged", 2, 8, 13, 21, 8, block=5, halo=2),
    _case("wide", 1, 12, 7, 9, 24),
    _case("wide, block", 1, 6, 9, 14, 40, block=4, halo=1),
    _case("one pixel", 2, 8, 1, 1, 4, block=4, halo=1),
    _case("empty batch", 0, 8, 3, 5, 4),
]

BENCHMARKS = [
    _case("training", 16, 32, 48, 48, 16),
    _case("block, 128x128", 1, 32, 128, 128, 16, block=32, halo=8),
    _case("global, 64x64", 1, 32, 64, 64, 16),
    _case("global, 96x96", 1, 32, 96, 96, 16),
    _case("d=32, 64x64", 1, 64, 64, 64, 32),
    _case("d=32, 96x96", 1, 64, 96, 96, 32),
]
