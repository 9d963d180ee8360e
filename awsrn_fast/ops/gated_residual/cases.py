"""Inputs of ``gated_residual`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, gated: bool = True) -> Case:
    shapes = {
        "x": (n, c, h, w),
        "f": (n, c, h, w),
        "gate": (n, c) if gated else None,
        "x_scale": (1,),
        "res_scale": (1,),
    }
    return Case(name, shapes)


CASES = [
    _case("unit", 2, 32, 24, 24),
    _case("no gate", 2, 32, 17, 9, gated=False),
    _case("odd", 3, 5, 7, 13),
    _case("one pixel", 2, 4, 1, 1),
    _case("empty batch", 0, 4, 3, 5),
]

BENCHMARKS = [
    _case("unit, training", 16, 32, 48, 48),
    _case("unit, 128x128", 1, 32, 128, 128),
    _case("64 channels, 256x256", 1, 64, 256, 256),
]
