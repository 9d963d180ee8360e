"""Performance model of a GPU for a row, from data-sheet figures, FLOP counts and compiled kernels.

Nothing in it is measured.

Floor: the longest of three times, a row's bytes at the card's bandwidth, its products at the tensor cores' rate, its
exponentials at the special-function units' rate. Estimate: the floor as our CUDA kernels can reach it with their tiles
and registers (``compiled.py``; compute capability 7.5). A grid whose blocks do not divide by the multiprocessors leaves
some idle at the end, too few threads at a time hide no latency, and each launch costs. Eager: the sum over PyTorch's
operators of the floor of each, with its results going through memory, and of a launch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import torch
from compiled import Launch, is_current, launches_of
from flops import FLOPS, of_op, on_meta
from rows import OpRow
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from awsrn_fast import ops


@dataclass(frozen=True)
class Card:
    """Data-sheet figures.

    Attributes:
        sms: streaming multiprocessors.
        clock: boost clock, MHz.
        fp32: TFLOP/s of the CUDA cores.
        tensor: TFLOP/s of dense fp16 products with fp32 accumulation.
        bandwidth: GB/s of the memory.
        source: reference for the figures.
        capability: compute capability.
    """

    sms: int
    clock: int
    fp32: float
    tensor: float
    bandwidth: float
    source: str
    capability: tuple[int, int] = (7, 5)


TURING = "NVIDIA Turing GPU Architecture, WP-09183-001, appendices A to C"
CARDS = {
    "RTX 2080 Ti": Card(68, 1545, 13.45, 53.8, 616, TURING),
    "RTX 2080": Card(46, 1710, 10.07, 40.3, 448, TURING),
    "RTX 2070": Card(36, 1620, 7.46, 29.9, 448, TURING),
    "T4": Card(40, 1590, 8.1, 65, 320, "NVIDIA T4 data sheet, DS-08884-001"),
    "RTX 3090": Card(82, 1695, 35.6, 71, 936, "NVIDIA Ampere GA102 GPU Architecture, appendix A", (8, 6)),
    "A100 40GB": Card(108, 1410, 19.5, 312, 1555, "NVIDIA A100 Tensor Core GPU Architecture, table 1", (8, 0)),
    "RTX 4090": Card(128, 2520, 82.6, 165.2, 1008, "NVIDIA Ada GPU Architecture, appendix A", (8, 9)),
    "H100": Card(132, 1830, 66.9, 989.4, 3352, "NVIDIA H100 Tensor Core GPU Architecture, table 2 (SXM5)", (9, 0)),
}
LATENCY = 600e-9
"""Memory latency under load, seconds: assumed."""
ACCESS = 16
"""Bytes in flight per thread: assumed, one load of the widest kind."""
WARPS = 8
"""Warps that a multiprocessor needs to keep its four schedulers busy with products: assumed, two each."""
LAUNCH = 2e-6
"""Launch overhead between two kernels, seconds: assumed."""
MOST_THREADS = 1024
"""Threads on a multiprocessor of compute capability 7.5."""
EXPONENTIALS = 16
"""Special functions per clock and SM, sm_75 to sm_90 (CUDA C++ Programming Guide, arithmetic throughput)."""
OTHERS = {"super", "ti", "laptop", "max", "pcie", "nvl"}
"""Suffixes in a device's name that denote a different model."""


def card_of(device: str) -> str | None:
    """The card in :data:`CARDS` for a device's name as reported by the driver; None: not listed."""
    words = set(re.findall(r"[a-z0-9]+", device.lower()))
    for name in CARDS:
        own = set(re.findall(r"[a-z0-9]+", name.lower()))
        if own <= words and not (words - own) & OTHERS:
            return name
    return None


def exponentials(row: OpRow) -> int:
    """Minimum number of exponentials of a row: one per attention score (again in the backward), one per sigmoid."""
    shapes, options = row.case.shapes, row.case.options
    n, _, height, width = (*next(iter(shapes.values())), 1, 1)[:4]
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
    """Lower bound in seconds for ``row`` on ``card``, and the limiting resource."""
    work = of_op(row)
    products = card.tensor if row.dtype != torch.float32 else card.fp32
    times = {
        "memory": work.bytes / card.bandwidth / 1e9,
        "products": work.flops / products / 1e12,
        "exponentials": exponentials(row) / (EXPONENTIALS * card.sms * card.clock * 1e6),
    }
    bound = max(times, key=times.get)
    return times[bound], bound


def estimate(row: OpRow, card: Card, launches: list[Launch]) -> float:
    """Estimated seconds of ``row`` with these kernels: its floor, divided among them by their threads, each part
    divided by the share of the card that the kernel's launch can use."""
    least, bound = floor(row, card)
    threads = sum(each.blocks * each.threads for each in launches)
    reached = partial(_of_bandwidth if bound == "memory" else _of_arithmetic, card)
    parts = (each.blocks * each.threads / threads / reached(each) for each in launches)
    return least * sum(parts) + LAUNCH * len(launches)


def _of_bandwidth(card: Card, launch: Launch) -> float:
    """Share of the bandwidth that the resident threads can request (Little's law)."""
    running = min(launch.blocks, card.sms * launch.resident) * launch.threads
    return min(1.0, running * ACCESS / (card.bandwidth * 1e9 * LATENCY))


def _of_arithmetic(card: Card, launch: Launch) -> float:
    """Utilisation of the units: of multiprocessors until the last block ends, and of warps on each."""
    busy = launch.blocks / card.sms
    at_a_time = min(launch.resident, ceil(busy)) * launch.threads / 32
    return busy / ceil(busy) * min(1.0, at_a_time / WARPS)


def show(launches: list[Launch]) -> str:
    """Description of the largest launch."""
    largest = max(launches, key=lambda each: each.blocks * each.threads)
    share = 100 * largest.resident * largest.threads / MOST_THREADS
    return f"{largest.blocks:,} of {largest.threads}, {largest.resident} an SM ({share:.0f} %)"


class EagerCost(TorchDispatchMode):
    """Dispatch mode that sums the modelled seconds of the operators that run under it; views are free."""

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
        self.seconds += LAUNCH + max(moved / self.card.bandwidth / 1e9, flops / products / 1e12)
        return result

    def _flops(self, func: Any, args: tuple, kwargs: dict, result: Any) -> int:
        if func._overloadpacket in FLOPS:
            shapes = [a.shape if isinstance(a, Tensor) else a for a in args]
            return FLOPS[func._overloadpacket](*shapes, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        return count(*args, **kwargs, out_val=result) if count else 0


def eager(row: OpRow, card: Card) -> float:
    """Modelled seconds of the eager form, with attention scores written to memory."""
    arguments = on_meta(row)
    with sdpa_kernel(SDPBackend.MATH), EagerCost(card) as cost:
        outputs = ops.ROWS[row.op].reference(**arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if row.backward:
            leaves = [v for v in arguments.values() if isinstance(v, Tensor)]
            torch.autograd.grad(outputs, leaves, [torch.empty_like(y) for y in outputs])
    return cost.seconds


class Line(NamedTuple):
    """Modelled and measured seconds of a row; None: unknown."""

    row: str
    floor: float
    bound: str
    estimate: float | None
    launches: list[Launch]
    eager: float
    measured: float | None


HEAD = (
    "row",
    "model: floor",
    "bound by",
    "model: estimate",
    "blocks of threads, at a time (occupancy)",
    "model: eager",
    "eager / estimate",
    "measured",
)


def model(row: OpRow, card: Card, measured: float | None = None) -> Line:
    """The modelled times of a row on a card."""
    launches = launches_of(row) if card.capability == (7, 5) else []
    expected = estimate(row, card, launches) if launches else None
    return Line(row.name, *floor(row, card), expected, launches, eager(row, card), measured)


def cells(line: Line) -> tuple[str, ...]:
    known = line.estimate is not None
    reached = "-"
    if line.measured is not None:
        reached = f"{_us(line.measured)} ({100 * line.floor / line.measured:.0f} % of the floor's speed)"
    return (
        line.row,
        _us(line.floor),
        line.bound,
        _us(line.estimate) if known else "-",
        show(line.launches) if known else "-",
        _us(line.eager),
        f"{line.eager / line.estimate:.1f}" if known else "-",
        reached,
    )


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.1f} us"


def described(card: Card) -> str:
    """Description of the model's figures and assumptions."""
    said = (
        f"model, not measured. {card.sms} SMs at {card.clock} MHz, {card.fp32} TFLOP/s fp32, {card.tensor} TFLOP/s "
        f"fp16 products, {card.bandwidth} GB/s ({card.source})."
    )
    if card.capability != (7, 5):
        return f"{said} No estimate: registers and occupancy of our CUDA kernels are known for compute capability 7.5."
    said += (
        f" The estimate assumes {1e9 * LATENCY:.0f} ns of latency, {ACCESS} bytes asked for by a thread at a time, "
        f"{WARPS} warps for full arithmetic and {1e6 * LAUNCH:g} us a launch."
    )
    return said if is_current() else f"{said} Its kernels are older than csrc/cuda: python benchmarks/compiled.py."
