"""Every workspace is as large as any instance that the launcher may choose: the launchers refuse where it is not.

Nothing runs here, so that all widths and maps of any size can be tried; addresses say what could be read in vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from types import ModuleType

import pytest
from harness import cuda_on_cpu

ALIGNED, OFF = 4096, 4096 + 2
MAPS = ((1, 1), (3, 5), (48, 48), (255, 257), (320, 320), (288, 411), (656, 656), (720, 1280))


@pytest.fixture
def module() -> Iterator[ModuleType]:
    with cuda_on_cpu("gated_residual", 75) as module:
        module.set_running(False)
        yield module
        module.take_launches()


def dtypes(module: ModuleType) -> tuple[int, int, int]:
    return module.FLOAT32, module.BFLOAT16, module.FLOAT16


@pytest.mark.parametrize("channels_last", [False, True])
def test_gated_residual(module: ModuleType, channels_last: bool) -> None:
    for c, (h, w), dtype, at, n in product(range(1, 257), MAPS, dtypes(module), (ALIGNED, OFF), (1, 3)):
        maps, where = (n, c, h * w, channels_last), (dtype, (0, 0, 80))
        values = [(at, False)] * 3  # gate and scales
        module.gated_residual_fwd((maps, *[at] * 2, *values, *[at] * 3), *where)
        module.gated_residual_bwd((maps, *[at] * 4, *values, *[at] * 6), *where)


@pytest.mark.parametrize("arch", [75, 80, 86, 89, 90, 120])
def test_dwpw_attention(module: ModuleType, arch: int) -> None:
    for c, d, (h, w), dtype in product(range(8, 129, 8), range(8, 129, 24), MAPS, dtypes(module)):
        if dtype != module.BFLOAT16 or arch >= 80:
            given = ((2, c, d, h, w), *[ALIGNED] * 2, (ALIGNED,) * 6, *[ALIGNED] * 9)
            module.dwpw_attention_bwd(given, dtype, (0, 0, arch))


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9])
def test_awms(module: ModuleType, k: int) -> None:
    for c, scale, (h, w), dtype in product(range(1, 257, 5), (1, 2, 3, 4, 8), MAPS, dtypes(module)):
        o, rows = 3 * scale**2, -(-c // 8) * 8
        maps, where = (1, h, w, c, o, k), (dtype, (0, 0, 80))
        module.awms_bwd_grad((maps, o, *[ALIGNED] * 2, False, scale, 1.0, *[ALIGNED] * 4), *where)
        module.awms_bwd_weight((maps, rows, o, *[ALIGNED] * 4), *where)
