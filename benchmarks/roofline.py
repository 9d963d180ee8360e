"""What a card allows: ``python benchmarks/roofline.py [--card "RTX 2080 Ti"] [--results results.json]``.

Everything printed is a model, from data-sheet figures and counted work; nothing of it was measured, but for the column
that ``--results`` (of a run on that very card) fills. The floor of a row is the longest of three times: its bytes at
the card's bandwidth, its products at the tensor cores' rate, its exponentials at the special-function units' rate. The
eager form is the sum over PyTorch's operators of the same for each, with its results going through memory.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from report import read
from rows import DTYPE_NAMES, OpRow, op_rows
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from work import FLOPS, of_op

from awsrn_fast import ops
from awsrn_fast.errors import UserError


@dataclass(frozen=True)
class Card:
    """Data-sheet figures.

    Attributes:
        sms: streaming multiprocessors.
        clock: boost clock, MHz.
        fp32: TFLOP/s of the CUDA cores.
        tensor: TFLOP/s of dense fp16 products with fp32 accumulation.
        bandwidth: GB/s of the memory.
        source: where they stand.
    """

    sms: int
    clock: int
    fp32: float
    tensor: float
    bandwidth: float
    source: str


TURING = "NVIDIA Turing GPU Architecture, WP-09183-001, appendices A to C"
CARDS = {
    "RTX 2080 Ti": Card(68, 1545, 13.45, 53.8, 616, TURING),
    "RTX 2080": Card(46, 1710, 10.07, 40.3, 448, TURING),
    "RTX 2070": Card(36, 1620, 7.46, 29.9, 448, TURING),
    "T4": Card(40, 1590, 8.1, 65, 320, "NVIDIA T4 data sheet, DS-08884-001"),
    "RTX 3090": Card(82, 1695, 35.6, 71, 936, "NVIDIA Ampere GA102 GPU Architecture, appendix A"),
    "A100 40GB": Card(108, 1410, 19.5, 312, 1555, "NVIDIA A100 Tensor Core GPU Architecture, table 1"),
    "RTX 4090": Card(128, 2520, 82.6, 165.2, 1008, "NVIDIA Ada GPU Architecture, appendix A"),
    "H100": Card(132, 1830, 66.9, 989.4, 3352, "NVIDIA H100 Tensor Core GPU Architecture, table 2 (SXM5)"),
}
EXPONENTIALS = 16
"""Special functions a clock and multiprocessor, sm_75 to sm_90 (CUDA C++ Programming Guide, arithmetic throughput)."""


def exponentials(row: OpRow) -> int:
    """How many a row needs at least: one a score of attention (again in its backward), one a sigmoid."""
    shapes, options = row.case.shapes, row.case.options
    n, _, height, width = shapes["x"] if "x" in shapes else (*shapes["mean"], 1, 1)
    passes = 1 + row.backward
    if row.op == "non_local":
        block = options.get("block")
        reach = block + 2 * options["halo"] if block else max(height, width)
        keys = min(reach, height) * min(reach, width)
        return passes * n * height * width * keys
    if row.op == "dwpw_attention":
        return passes * n * height * width * shapes["w_a"][0]
    return 0


def floor(row: OpRow, card: Card) -> tuple[float, str]:
    """Seconds that ``row`` takes at least on ``card``, and what bounds it."""
    work = of_op(row)
    products = card.tensor if row.dtype != torch.float32 else card.fp32
    times = {
        "memory": work.bytes / card.bandwidth / 1e9,
        "products": work.flops / products / 1e12,
        "exponentials": exponentials(row) / (EXPONENTIALS * card.sms * card.clock * 1e6),
    }
    bound = max(times, key=times.get)
    return times[bound], bound


class EagerCost(TorchDispatchMode):
    """Seconds of the operators that run under it, each by the same model; views cost nothing."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.card, self.seconds = card, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        out = [t for t in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(t, Tensor)]
        given = [t for t in (*args, *(kwargs or {}).values()) if isinstance(t, Tensor)]
        made = [t for t in out if not func.is_view and all(t is not g for g in given)]
        if not made or func.is_view:
            return result
        flops = self._flops(func, args, kwargs or {}, result)
        products = self.card.fp32 if made[0].dtype == torch.float32 else self.card.tensor
        moved = sum(t.nbytes for t in (*given, *made))
        self.seconds += max(moved / self.card.bandwidth / 1e9, flops / products / 1e12)
        return result

    def _flops(self, func: Any, args: tuple, kwargs: dict, result: Any) -> int:
        if func._overloadpacket in FLOPS:
            shapes = [a.shape if isinstance(a, Tensor) else a for a in args]
            return FLOPS[func._overloadpacket](*shapes, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        return count(*args, **kwargs, out_val=result) if count else 0


def eager(row: OpRow, card: Card) -> float:
    """Seconds of the eager form by the same model, attention with its scores in memory."""
    arguments = row.case.make(row.dtype)
    leaves = {k: v.to("meta").requires_grad_(row.backward) for k, v in arguments.items() if isinstance(v, Tensor)}
    with sdpa_kernel(SDPBackend.MATH), EagerCost(card) as cost:
        outputs = ops.ROWS[row.op].reference(**(arguments | leaves))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if row.backward:
            torch.autograd.grad(outputs, list(leaves.values()), [torch.empty_like(y) for y in outputs])
    return cost.seconds


def table(card: Card, dtype: torch.dtype, measured: dict[str, float]) -> list[tuple[str, ...]]:
    """Lines: row, floor in us, its bound, the eager form, their ratio, and what was measured."""
    lines = []
    for row in op_rows((dtype,)):
        least, bound = floor(row, card)
        other = eager(row, card)
        found = measured.get(row.name)
        reached = "-" if found is None else f"{1e6 * found:.1f} us ({100 * least / found:.0f} % of the floor's speed)"
        lines.append(
            (row.name, f"{1e6 * least:.1f} us", bound, f"{1e6 * other:.1f} us", f"{other / least:.1f}", reached)
        )
    return lines


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.3g} us"


def _measured(path: Path | None, name: str) -> dict[str, float]:
    if path is None:
        return {}
    rows, machine = read(path)
    if name.lower() not in machine["device"].lower():
        raise UserError(f"{path} was measured on {machine['device']}, not on {name}")
    return {row["row"]: row["contenders"][row["leader"]]["median_s"] for row in rows}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {name: dtype for dtype, name in DTYPE_NAMES.items()}
    parser.add_argument("--card", choices=CARDS, default="RTX 2080 Ti")
    parser.add_argument("--dtype", choices=names, default="fp16")
    parser.add_argument("--results", type=Path, help="JSON of a benchmark run on that card")
    args = parser.parse_args(argv)
    card = CARDS[args.card]
    print(f"{args.card}: model, not measured. {card.sms} SMs at {card.clock} MHz, {card.fp32} TFLOP/s fp32, ", end="")
    print(f"{card.tensor} TFLOP/s fp16 products, {card.bandwidth} GB/s ({card.source}).\n")
    print("| row | model: floor | bound by | model: eager | eager / floor | measured |\n|---|---|---|---|---|---|")
    for line in table(card, names[args.dtype], _measured(args.results, args.card)):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
