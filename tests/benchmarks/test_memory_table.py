from __future__ import annotations

import importlib
import re

import memory_table
import pytest
import torch

from awsrn_fast import backends, native, ops
from awsrn_fast.ops.non_local.cases import BENCHMARKS, _case


def test_naive_attention_is_the_same_function() -> None:
    case = next(case for case in BENCHMARKS if case.name == "global, 64x64")
    arguments = case.make(torch.float64)
    arguments = arguments | {"x": arguments["x"][:, :, :9, :7]}
    expected = ops.ROWS["non_local"].reference(**arguments)
    torch.testing.assert_close(memory_table.naive_non_local(**arguments), expected)


def test_attention_is_linear_in_the_positions_and_naive_is_not() -> None:
    if "cpu" not in backends.registered("non_local") or not native.cpu:
        pytest.skip("the native library is not built")
    small, large = (next(c for c in BENCHMARKS if c.name == f"d=32, {n}x{n}") for n in (64, 96))
    growth = (96 / 64) ** 2
    fused = [memory_table.of_op("non_local", case, torch.float32, "cpu") for case in (small, large)]
    naive = [memory_table.of_op("non_local", case, torch.float32, "naive") for case in (small, large)]
    assert fused[1].peak / fused[0].peak == pytest.approx(growth, rel=0.01)
    assert naive[1].saved / naive[0].saved > 0.95 * growth**2
    # Two matrices of scores are alive at once in the naive backward.
    assert naive[0].peak > 2 * 4 * 64**4


def test_global_attention_of_256x256_positions_fits_eleven_gigabytes_and_eager_does_not() -> None:
    case = _case("256x256", 1, 64, 256, 256, 32)
    fused = memory_table.of_op("non_local", case, torch.bfloat16, "cpu")
    assert fused.peak < 2**28
    assert memory_table.of_op("non_local", case, torch.bfloat16, "naive").peak > 11 * 2**30


def test_the_command_prints_every_case(capsys) -> None:
    memory_table.main(["--dtype", "bf16"])
    lines = capsys.readouterr().out.splitlines()
    cases = [importlib.import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS for op in ops.ROWS]
    assert len(lines) == 2 + sum(map(len, cases))


@pytest.mark.parametrize("op", ops.ROWS)
def test_bytes_kept_for_the_backward_are_those_of_the_docstring(op: str) -> None:
    said = re.search(r"Kept for the backward pass[^`]*``([^`]+)`` bytes", ops.ROWS[op].__doc__)[1]
    for case in importlib.import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS:
        if op == "non_local":
            n, c, h, w = case.shapes["x"]
            sizes = {"D": case.shapes["w_theta"][0]}
        else:
            n, c, h, w = (*next(iter(case.shapes.values())), 1, 1)[:4]
            sizes = {}
        expected = eval(said, sizes | {"N": n, "C": c, "H": h, "W": w, "b": 4})
        kernels = "cpu" if "cpu" in backends.registered(op) else "triton"
        with backends.as_if_on("cpu") if kernels == "cpu" else backends.as_if_on("cuda", (8, 0)):
            assert memory_table.of_op(op, case, torch.float32, kernels).saved == expected, case.name
