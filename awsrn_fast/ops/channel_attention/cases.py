"""Inputs of ``channel_attention`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, r: int, bias: bool = True) -> Case:
    shapes = {"mean": (n, c), "w1": (r, c), "b1": (r,) if bias else None, "w2": (c, r), "b2": (c,) if bias else None}
    return Case(name, shapes)


CASES = [
    _case("unit", 16, 32, 4),
    _case("fusion, no biases", 3, 32, 4, bias=False),
    _case("levels", 2, 128, 8),
    _case("odd", 5, 7, 3),
    _case("gates of every position", 275, 7, 3),
    _case("empty batch", 0, 8, 4),
]

BENCHMARKS = [_case("unit, training", 16, 32, 4), _case("levels, training", 16, 128, 8)]
