"""Random shapes of every op, drawn from a seed: sides 1 to 70, channels around those of vectors, odd blocks."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import torch
from torch import Tensor

from awsrn_fast.ops._cases import Case

Shapes = dict[str, tuple[int, ...] | None]


def random_case(op: str, seed: int, most_positions: int) -> Case:
    """The case number ``seed`` of an op, of maps of at most ``most_positions``."""
    draw = Random(f"{op} {seed}")
    h = draw.randint(1, min(70, most_positions))
    w = draw.randint(1, min(70, most_positions // h))
    n = draw.randint(1, max(1, min(3, most_positions // (h * w))))
    shapes, options = globals()[f"_{op}"](draw, n, draw.choice((1, 3, 5, 8, 13, 16, 24, 32, 40, 48)), h, w)
    return Case(f"random {seed}", shapes, options)


def random_arguments(op: str, case: Case, seed: int) -> dict[str, Any]:
    """Normal numbers. What decides where a ReLU or a clamp lets through is rounded to a grid, and the bias lies half a
    step beside it: sums are then no nearer to the threshold than that, and no rounding error chooses the side."""
    arguments = case.make(torch.float32, seed=seed)
    for name, step in _GRIDS.get(op, {}).items():
        if arguments[name] is not None:
            arguments[name] = (arguments[name] / step).round() * step
    if op in _GRIDS:
        bias = arguments[_BIASES[op]]
        bias += math.prod(_GRIDS[op][name] for name in _FACTORS[op]) / 2
    return arguments


_GRIDS = {
    "wide_residual": {"x": 2**-3, "w1": 2**-7, "b1": 2**-10},
    "gated_pair": {"x0": 2**-3, "x1": 2**-3, "gate": 2**-2, "weight": 2**-6, "bias": 2**-11},
    "awms": {"x": 2**-2, "weight": 2**-6, "bias": 2**-8, "skip": 2**-8, "out_shift": 2**-8},
}
_FACTORS = {"wide_residual": ("x", "w1"), "gated_pair": ("x0", "gate", "weight"), "awms": ("x", "weight")}
_BIASES = {"wide_residual": "b1", "gated_pair": "bias", "awms": "bias"}


def _awms(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    scale, planes = draw.choice((1, 2, 3, 4, 8)), draw.randint(1, 3)
    out, side = planes * scale**2, draw.choice((1, 3, 5, 7, 9))
    shapes: Shapes = {"x": (n, c, h, w), "weight": (out, c, side, side), "bias": (out,)}
    shapes["skip"] = (n, out, h, w) if draw.random() < 0.5 else None
    shapes["out_shift"] = (planes,) if draw.random() < 0.5 else None
    return shapes, {"scale": scale, "out_scale": draw.choice((1.0, 0.5)), "clamp": draw.random() < 0.3}


def _conv3x3(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    others = [draw.choice((1, 7, 16, 32)) for _ in range(draw.randint(0, 3))]
    o = draw.randint(1, 50)
    shapes: Shapes = {"x": (n, c, h, w), "weight": (o, c + sum(others), 3, 3), "bias": (o,)}
    return shapes | {f"x{i + 1}": (n, channels, h, w) for i, channels in enumerate(others)}, {}


def _dwpw_attention(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    d = draw.choice((c, draw.randint(1, 70)))
    shapes: Shapes = {"x": (n, c, h, w), "w_dw": (c, 1, 3, 3), "b_dw": (c,), "w_pw": (d, c), "b_pw": (d,)}
    return shapes | {"w_a": (d, d), "b_a": (d,), "residual": (n, d, h, w) if draw.random() < 0.5 else None}, {}


def _gated_pair(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    o = draw.randint(1, 70)
    maps: Shapes = {"x0": (n, c, h, w), "x1": (n, c, h, w), "gate": (n, 2 * c) if draw.random() < 0.7 else None}
    return maps | {"weight": (o, 2 * c), "bias": (o,)}, {}


def _gated_residual(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    gate = (n, c) if draw.random() < 0.7 else None
    return {"x": (n, c, h, w), "f": (n, c, h, w), "gate": gate, "x_scale": (1,), "res_scale": (1,)}, {}


def _non_local(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    d = draw.choice((1, 4, 5, 8, 11, 16, 20, 32))
    shapes: Shapes = {"x": (n, c, h, w)}
    for projection in ("theta", "phi", "g"):
        shapes |= {f"w_{projection}": (d, c), f"b_{projection}": (d,)}
    block = draw.choice((None, draw.randint(1, 32)))
    return shapes | {"w_z": (c, d), "b_z": (c,)}, {"block": block, "halo": draw.randint(0, 8) if block else 0}


def _wide_residual(draw: Random, n: int, c: int, h: int, w: int) -> tuple[Shapes, dict[str, Any]]:
    k, gate = draw.choice((1, 12, 33, 64, 100, 128)), (n, c) if draw.random() < 0.7 else None
    shapes: Shapes = {"x": (n, c, h, w), "w1": (k, c, 3, 3), "b1": (k,), "w2": (c, k, 3, 3), "b2": (c,)}
    return shapes | {"gate": gate, "x_scale": (1,), "res_scale": (1,)}, {}


def rounded(arguments: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The arguments in another dtype."""
    return {k: v.to(dtype) if isinstance(v, Tensor) else v for k, v in arguments.items()}
