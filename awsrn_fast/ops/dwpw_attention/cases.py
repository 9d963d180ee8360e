"""Inputs of ``dwpw_attention`` for tests and benchmarks."""

from awsrn_fast.ops._cases import Case


def _case(name: str, n: int, c: int, h: int, w: int, d: int, residual: bool = True) -> Case:
    shapes = {
        "x": (n, c, h, w),
        "w_dw": (c, 1, 3, 3),
        "b_dw": (c,),
        "w_pw": (d, c),
        "b_pw": (d,),
        "w_a": (d, d),
        "b_a": (d,),
        "residual": (n, d, h, w) if residual else None,
    }
    return Case(name, shapes)


CASES = [
    _case("head", 2, 32, 24, 24, 32),
    _case("64 channels", 1, 64, 11, 19, 64, residual=False),
    _case("128 channels out", 1, 72, 3, 17, 128, residual=False),
    _case("odd, wider out", 3, 5, 7, 13, 6),
    _case("one pixel", 2, 8, 1, 1, 8),
    _case("empty batch", 0, 8, 3, 5, 8),
]

BENCHMARKS = [
    _case("head, training", 16, 32, 48, 48, 32),
    _case("head, 128x128", 1, 32, 128, 128, 32),
    _case("head, 256x256", 1, 32, 256, 256, 32),
    _case("64 channels, 256x256", 1, 64, 256, 256, 64),
]
