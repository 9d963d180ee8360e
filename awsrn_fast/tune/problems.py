"""Tuning tasks: the kernels' problems in the ops' benchmark cases. Pure functions of case, dtype and GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from math import prod
from typing import NamedTuple

import torch

from awsrn_fast import backends, ops
from awsrn_fast.backends import Call
from awsrn_fast.kernels import _conv, awms, channel_attention, dwpw_attention, gated_residual, non_local
from awsrn_fast.kernels._gpu import Gpu
from awsrn_fast.kernels._tiles import Problem, Tiles, Tiling
from awsrn_fast.ops._cases import Case

OPS = tuple(op for op in ops.ROWS if "triton" in backends.registered(op))
LAYOUTS = (torch.channels_last, torch.contiguous_format)


class Task(NamedTuple):
    """One problem to tune, and the call that it is measured in."""

    op: str
    problem: Problem
    tiling: Tiling
    case: Case
    layout: torch.memory_format
    backward: bool

    @property
    def candidates(self) -> list[Tiles]:
        return self.tiling.candidates(self.problem)


def tasks_of(op: str, dtypes: Iterable[torch.dtype], gpu: Gpu) -> list[Task]:
    """The problems of an op's benchmark cases that its Triton kernels take on ``gpu``, each with its largest case."""
    cases = import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS
    found: dict[str, Task] = {}
    for dtype in dtypes:
        for case in sorted(cases, key=_positions, reverse=True):
            if reasons_against(op, case, dtype, gpu):
                continue
            for layout in LAYOUTS:
                for tiling, channels, on_maps, backward in _launches(op, case):
                    problem = Problem(tiling.kernel, gpu, dtype, channels, layout if on_maps else None)
                    task = Task(op, problem, tiling, case, layout, backward)
                    # Kernels that a forward pass also launches are measured in the forward pass alone.
                    if problem.name not in found or (found[problem.name].backward and not backward):
                        found[problem.name] = task
    return list(found.values())


def reasons_against(op: str, case: Case, dtype: torch.dtype, gpu: Gpu) -> list[str]:
    """Reasons why the op's Triton kernels cannot run a case; empty if they can."""
    digits = gpu.arch.removeprefix("sm_")
    capability = (int(digits[:-1]), int(digits[-1])) if gpu.arch.startswith("sm_") else None
    device = "cuda" if gpu.arch else "cpu"
    return backends.reasons_against(op, "triton", Call(device, capability, dtype, next(iter(_shapes(case).values()))))


def _shapes(case: Case) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in case.shapes.items() if shape is not None}


def _positions(case: Case) -> int:
    return prod(next(iter(_shapes(case).values())))


def _launches(op: str, case: Case) -> Iterator[tuple[Tiling, tuple[int, ...], bool, bool]]:
    """Tiling, channels, whether the layout of maps matters, and whether only the backward pass launches it."""
    shapes = _shapes(case)
    if op == "awms":
        outputs, channels, taps = shapes["weight"][:3]
        yield awms.FWD, (channels, outputs), True, False
        yield awms.FWD, (outputs, channels), True, True  # the gradient of x
        yield _conv.BWD_WEIGHT, (channels, outputs, taps), True, True
    elif op in ("conv3x3", "gated_pair", "wide_residual"):
        yield from _convolutions(op, case)
    elif op == "channel_attention":
        for tiling in channel_attention.TILINGS:
            yield tiling, shapes["w1"][::-1], False, tiling is not channel_attention.FWD
    elif op == "dwpw_attention":
        both = shapes["w_pw"][::-1]
        yield dwpw_attention.FWD, both, True, False
        yield dwpw_attention.BWD, both, True, True
        yield dwpw_attention.BWD_STENCIL, both[:1], True, True
    elif op == "gated_residual":
        yield gated_residual.FWD, shapes["x"][1:2], True, False
        yield gated_residual.BWD, shapes["x"][1:2], True, True
    elif op == "non_local":
        for tiling in non_local.TILINGS:
            yield tiling, shapes["w_theta"][:1], False, tiling is not non_local.FWD


def _convolutions(op: str, case: Case) -> Iterator[tuple[Tiling, tuple[int, ...], bool, bool]]:
    """The same as :func:`_launches`, for ops of convolutions."""
    shapes = _shapes(case)
    if op == "wide_residual":
        wide, channels = shapes["w1"][:2]
        for sizes in ((channels, wide, 3), (wide, channels, 3)):  # backward has the same two
            yield _conv.FWD, sizes, True, False
            yield _conv.BWD_WEIGHT, sizes, True, True
        yield gated_residual.BWD, (channels,), True, True
        return
    outputs, taps = shapes["weight"][0], 3 if op == "conv3x3" else 1
    maps = [shape[1] for name, shape in shapes.items() if name.startswith("x")]
    yield _conv.FWD, (sum(maps), outputs, taps), True, False
    yield _conv.FWD, (outputs, sum(maps), taps), True, True  # the gradient of the maps
    for channels in maps:
        yield _conv.BWD_WEIGHT, (channels, outputs, taps), True, True
