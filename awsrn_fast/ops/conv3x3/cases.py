"""Inputs of ``conv3x3`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, o: int) -> Case:
    return Case(name, {"x": (n, c, h, w), "weight": (o, c, 3, 3), "bias": (o,)})


CASES = [
    _case("fusion", 2, 64, 16, 16, 32),
    _case("odd", 3, 19, 7, 11, 12),
    _case("one pixel", 2, 16, 1, 1, 8),
    _case("few channels", 1, 3, 9, 6, 5),
    _case("empty batch", 0, 16, 3, 5, 8),
]

BENCHMARKS = [
    _case("fusion, training", 16, 64, 48, 48, 32),
    _case("fusion, 128x128", 1, 64, 128, 128, 32),
    _case("fusion by concatenation, 128x128", 1, 128, 128, 128, 32),
]
