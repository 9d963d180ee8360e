"""Inputs of ``conv3x3`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, o: int, *others: int) -> Case:
    """Case with ``c`` channels, and ``others`` in further maps."""
    shapes = {"x": (n, c, h, w), "weight": (o, c + sum(others), 3, 3), "bias": (o,)}
    return Case(name, shapes | {f"x{i + 1}": (n, channels, h, w) for i, channels in enumerate(others)})


CASES = [
    _case("fusion", 2, 64, 16, 16, 32),
    _case("odd", 3, 19, 7, 11, 12),
    _case("one pixel", 2, 16, 1, 1, 8),
    _case("few channels", 1, 3, 9, 6, 5),
    _case("four maps", 2, 16, 7, 9, 24, 16, 32, 16),
    _case("two odd maps", 1, 17, 5, 6, 3, 4),
    _case("empty batch", 0, 16, 3, 5, 8),
]

BENCHMARKS = [
    _case("fusion, training", 16, 32, 48, 48, 32, 32),
    _case("fusion, 128x128", 1, 32, 128, 128, 32, 32),
    _case("fusion of all levels, 128x128", 1, 32, 128, 128, 32, 32, 32, 32),
]
