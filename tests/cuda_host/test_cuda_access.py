"""How the kernels' accesses fall on memory, on maps of the network's widths: sectors, bank conflicts."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from harness import cuda_on_cpu
from suite import forward_and_gradients, laid_out

from awsrn_fast import backends, ops
from awsrn_fast.ops._cases import Case

# One case an op with whole vectors of channels; a map is more than a block's, so that its edges weigh little.
SHAPES: dict[str, Case] = {
    "awms": Case(
        "x4",
        {"x": (1, 32, 32, 32), "weight": (48, 32, 5, 5), "bias": (48,), "skip": (1, 48, 32, 32), "out_shift": (3,)},
        {"scale": 4, "out_scale": 0.5},
    ),
    "dwpw_attention": Case(
        "48x48",
        {"x": (1, 32, 48, 48), "w_dw": (32, 1, 3, 3), "b_dw": (32,), "w_pw": (32, 32), "b_pw": (32,)}
        | {"w_a": (32, 32), "b_a": (32,), "residual": (1, 32, 48, 48)},
    ),
    "gated_residual": Case(
        "48x48", {"x": (2, 32, 48, 48), "f": (2, 32, 48, 48), "gate": (2, 32), "x_scale": (1,), "res_scale": (1,)}
    ),
    "non_local": Case(
        "24x24 in blocks",
        {
            "x": (1, 32, 24, 24),
            **{f"w_{name}": (16, 32) for name in ("theta", "phi", "g")},
            **{f"b_{name}": (16,) for name in ("theta", "phi", "g")},
            "w_z": (32, 16),
            "b_z": (32,),
        },
        {"block": 12, "halo": 3},
    ),
    "conv3x3": Case("two maps", {"x": (1, 32, 32, 32), "weight": (32, 64, 3, 3), "bias": (32,), "x1": (1, 32, 32, 32)}),
    "gated_pair": Case(
        "fusion",
        {"x0": (1, 32, 32, 32), "x1": (1, 32, 32, 32), "gate": (1, 64), "weight": (32, 64), "bias": (32,)},
    ),
    "wide_residual": Case(
        "unit",
        {"x": (1, 32, 24, 32), "w1": (128, 32, 3, 3), "b1": (128,), "w2": (32, 128, 3, 3), "b2": (32,)}
        | {"gate": (1, 32), "x_scale": (1,), "res_scale": (1,)},
    ),
    "channel_attention": Case("levels", {"mean": (4, 128), "w1": (8, 128), "b1": (8,), "w2": (128, 8), "b2": (128,)}),
}
MOST_WAVEFRONTS = {"wide_residual_fwd_kernel": 1.35}
"""Times the ideal, of ldmatrix, where it is not 1: rows of 18 positions of the wide map lie in rows of 20 of x, so that
most matrices run over from one row to the next, where the positions jump by two."""
MOST_SECTORS = 1.25
"""Times the sectors that the bytes of a kernel would fill, loads and stores together."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize("op", SHAPES)
def test_sectors_and_conflicts(op: str, dtype: torch.dtype) -> None:
    arguments = SHAPES[op].make(dtype)
    arguments = {k: laid_out(v, "channels_last") if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with cuda_on_cpu(op, 75, "race") as module, backends.use_backend(**{op: "cuda"}):
        module.set_counting(True)
        try:
            forward_and_gradients(ops.ROWS[op], arguments)
            accesses = module.take_accesses()
        finally:
            module.set_counting(False)
    sums: dict[tuple[str, bool], list[int]] = defaultdict(lambda: [0, 0])
    for _, kernel, place, kind, requests, units, ideal in accesses:
        if kind == "ldmatrix":
            allowed = next((most for name, most in MOST_WAVEFRONTS.items() if name in kernel), 1)
            assert units <= allowed * ideal, f"{kernel}: ldmatrix at {place} takes {units} wavefronts, {ideal} would do"
        if kind.startswith("global"):
            sums[kernel][0] += units
            sums[kernel][1] += ideal
        print(f"{kernel[:60]:60} {place:28} {kind:13} {requests:6} requests, {units / ideal:.2f} x ideal")
    assert sums
    for kernel, (units, ideal) in sums.items():
        assert units <= MOST_SECTORS * ideal, f"{kernel}: {units} sectors, {ideal} would do"
