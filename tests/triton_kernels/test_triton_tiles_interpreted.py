"""Measured tiles reach the kernels, and candidates with wrong results are not timed; test_triton_tiles.py starts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from awsrn_fast.kernels import _gpu, _tiles, channel_attention, gated_residual

from awsrn_fast import backends, ops
from awsrn_fast.ops import _triton
from awsrn_fast.ops.channel_attention.cases import _case as channel_attention_case
from awsrn_fast.ops.gated_residual.cases import _case as gated_residual_case
from awsrn_fast.tune import trials
from awsrn_fast.tune.problems import Task, tasks_of

if not _triton.INTERPRETED:
    pytest.skip("without TRITON_INTERPRET=1", allow_module_level=True)

CPU = torch.device("cpu")
HERE = _gpu.Gpu("cpu", "")


class Spy:
    """Stands for a kernel, notes how it is launched, and may spoil its results."""

    def __init__(self, kernel: Any, after: Callable[..., None] = lambda *args, **named: None) -> None:
        self.kernel, self.after = kernel, after
        self.launches: list[tuple[tuple[int, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: Any, **named: Any) -> None:
            self.launches.append((grid, named))
            self.kernel[grid](*args, **named)
            self.after(*args, **named)

        return launch


def task(kernel: str, case) -> Task:
    op = kernel.removesuffix("_fwd").removesuffix("_bwd")
    found = next(t for t in tasks_of(op, (torch.float32,), HERE) if t.problem.kernel == kernel)
    return found._replace(case=case)


def test_a_measured_tile_is_what_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(gated_residual.gated_residual_fwd_kernel)
    monkeypatch.setattr(gated_residual, "gated_residual_fwd_kernel", spy)
    arguments = gated_residual_case("measured", 1, 32, 40, 40).make(torch.float32)
    name = "gated_residual_fwd fp32 32 contiguous"
    results = []
    for tiles in ({}, {name: {"VALUES": 8192, "num_warps": 8}}):
        monkeypatch.setitem(_tiles.TUNED, "cpu", tiles)
        with backends.use_backend("triton"):
            results.append(ops.ROWS["gated_residual"](**arguments)[0])
    torch.testing.assert_close(*results)
    (grid, own), (larger_grid, tuned) = spy.launches
    assert (own["num_warps"], tuned["num_warps"]) == (4, 8)
    assert grid[0] == 32 and larger_grid[0] == 8


def test_the_fastest_correct_candidate_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(mean, w1, b1, w2, b2, gate, *sizes, num_warps: int, **others: Any) -> None:
        if num_warps == 8:
            gate[0, 0] *= 1.001

    spy = Spy(channel_attention.channel_attention_fwd_kernel, spoil)
    monkeypatch.setattr(channel_attention, "channel_attention_fwd_kernel", spy)
    case = channel_attention_case("small", 1, 128, 8)
    times = {4: 1.0, 1: 0.99, 2: 0.5}
    timed = []

    def timer(call: Callable[[], Any]) -> float:
        call()
        timed.append(spy.launches[-1][1]["num_warps"])
        return times[timed[-1]]

    asked = task("channel_attention_fwd", case)
    found = trials.measure(asked, CPU, timer)
    assert timed == [4, 1, 2]  # the kernel's own first; 8 warps give a wrong gate
    assert (found.tiles, found.ms, found.own_ms) == ({"num_warps": 2}, 0.5, 1.0)
    assert len(found.refused) == 1 and "num_warps=8: output 0 is off by" in found.refused[0]
    times[2] = 0.98
    assert trials.measure(asked, CPU, timer) == trials.Found({}, 1.0, 1.0, found.refused)  # that may be noise


def test_wrong_gradients_are_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(grad_y, grad_mean, x, f, gate, x_scale, res_scale, grad_x, *others: Any, num_warps: int) -> None:
        if num_warps != 2:
            grad_x[0, 0, 0, 0] = float("nan")

    spy = Spy(gated_residual.gated_residual_bwd_kernel, spoil)
    monkeypatch.setattr(gated_residual, "gated_residual_bwd_kernel", spy)
    monkeypatch.setitem(_tiles.SPACES, "gated_residual_bwd", {"VALUES": (2048,), "num_warps": (2, 4)})
    asked = task("gated_residual_bwd", gated_residual_case("small", 1, 64, 10, 10))
    with pytest.raises(trials.Wrong, match="gradient of x is off by nan"):  # the kernel's own
        trials.measure(asked, CPU, lambda call: 1.0)
    monkeypatch.setattr(spy, "after", lambda *args, **named: None)
    timed = []
    found = trials.measure(asked, CPU, lambda call: timed.append(call()) or 1.0 / len(timed))
    assert found == trials.Found({"VALUES": 2048, "num_warps": 2}, 0.5, 1.0, [])
