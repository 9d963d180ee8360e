"""Inputs of ``gated_pair`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, o: int, gate: bool = True) -> Case:
    maps = {"x0": (n, c, h, w), "x1": (n, c, h, w), "gate": (n, 2 * c) if gate else None}
    return Case(name, maps | {"weight": (o, 2 * c), "bias": (o,)})


CASES = [
    _case("fusion", 2, 32, 16, 16, 32),
    _case("odd", 3, 19, 7, 11, 12),
    _case("one pixel", 2, 16, 1, 1, 8),
    _case("few channels", 1, 3, 9, 6, 5),
    _case("many channels, no gate", 1, 48, 5, 13, 80, gate=False),
    _case("empty batch", 0, 16, 3, 5, 8),
]

BENCHMARKS = [_case("fusion, training", 16, 32, 48, 48, 32), _case("fusion, 128x128", 1, 32, 128, 128, 32)]
