"""Inputs of ``awms`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, k: int, scale: int, skip: bool = True, **options) -> Case:
    out = 3 * scale**2
    shapes = {"x": (n, c, h, w), "weight": (out, c, k, k), "bias": (out,), "skip": (n, out, h, w) if skip else None}
    shapes["out_shift"] = (3,) if skip else None
    return Case(name, shapes, {"scale": scale, "out_scale": 0.5, **options})


CASES = [
    _case("x4", 1, 32, 12, 12, 9, 4),
    _case("x2, clamped", 2, 32, 9, 7, 9, 2, clamp=True),
    _case("x3, pruned to 7", 1, 16, 5, 11, 7, 3, skip=False),
    _case("pruned to 3", 2, 5, 6, 4, 3, 2),
    _case("one pixel", 2, 4, 1, 1, 5, 2),
    _case("empty batch", 0, 4, 3, 5, 9, 2),
]

BENCHMARKS = [
    _case("x4, training", 16, 32, 48, 48, 9, 4),
    _case("x4, 128x128", 1, 32, 128, 128, 9, 4),
    _case("x2, 128x128", 1, 32, 128, 128, 9, 2),
    _case("x4 pruned to 7, 128x128", 1, 32, 128, 128, 7, 4),
]
