"""Inputs of ``wide_residual`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, k: int, gated: bool = True) -> Case:
    shapes = {
        "x": (n, c, h, w),
        "w1": (k, c, 3, 3),
        "b1": (k,),
        "w2": (c, k, 3, 3),
        "b2": (c,),
        "gate": (n, c) if gated else None,
        "x_scale": (1,),
        "res_scale": (1,),
    }
    return Case(name, shapes)


CASES = [
    _case("unit", 2, 32, 16, 16, 128),
    _case("SD unit, no gate", 1, 16, 13, 17, 128, gated=False),
    _case("odd", 3, 5, 7, 11, 12),
    _case("one pixel", 2, 4, 1, 1, 8),
    _case("empty batch", 0, 4, 3, 5, 8),
]

BENCHMARKS = [
    _case("unit, training", 16, 32, 48, 48, 128),
    _case("unit, 128x128", 1, 32, 128, 128, 128),
    _case("unit, 256x256", 1, 32, 256, 256, 128),
]
