"""Cost of networks: parameters, mult-adds, time and memory for an output of 1280x720, the literature's size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.table import Table
from torch import Tensor, nn

from awsrn_fast.inference.process_memory import most_taken
from awsrn_fast.memory import show_size
from awsrn_fast.models import SuperResolution, create
from awsrn_fast.models.sizes import VARIANTS

HEIGHT, WIDTH = 720, 1280
TURNS = 5
HEADINGS = ("network", "parameters", "mult-adds", "merged", "time", "peak memory")


@dataclass(frozen=True)
class Cost:
    """Cost of one network.

    Attributes:
        name: the weights' or the variant's name.
        parameters: numbers in the weights file.
        mult_adds: with the branches of the reconstruction counted separately, as in the literature.
        mult_adds_merged: with the branches merged, as computed here.
        seconds: median of :data:`TURNS` runs, interleaved with the other networks'.
        memory: peak bytes of a run in addition to the weights; None: not available on this system.
    """

    name: str
    parameters: int
    mult_adds: int
    mult_adds_merged: int
    seconds: float
    memory: int | None

    def cells(self) -> tuple[str, ...]:
        """The cells of a row under :data:`HEADINGS`."""
        return (
            self.name,
            f"{self.parameters:,}",
            f"{self.mult_adds / 1e9:.1f} G",
            f"{self.mult_adds_merged / 1e9:.1f} G",
            f"{self.seconds:.2f} s",
            "-" if self.memory is None else show_size(self.memory),
        )


def with_counterparts(networks: Mapping[str, SuperResolution], scale: int) -> dict[str, SuperResolution]:
    """The networks and the missing counterparts of the same sizes (with random weights, at the same cost).

    So that baseline and improved network are always compared. Without any networks, size S of both.
    """
    there = {network.facts.variant for network in networks.values()}
    sizes = {variant.partition("-")[2] for variant in there if variant in VARIANTS} or {"s"}
    wanted = [variant for variant in VARIANTS if variant.partition("-")[2] in sizes and variant not in there]
    return {variant: create(variant, scale).eval() for variant in wanted} | dict(networks)


def measure_cost(
    networks: Mapping[str, SuperResolution], scale: int, place: Callable[[SuperResolution], nn.Module]
) -> list[Cost]:
    """The cost of each network in its fused form, placed by ``place``."""
    placed = {name: place(network) for name, network in networks.items()}
    generator = torch.Generator().manual_seed(0)
    size = (1, 3, HEIGHT // scale, WIDTH // scale)
    image = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")
    memory = {name: most_taken(partial(network, image)) for name, network in placed.items()}
    seconds: dict[str, list[float]] = {name: [] for name in placed}
    for _ in range(TURNS):
        for name, network in placed.items():
            seconds[name].append(_timed(network, image))
    costs = []
    for name, network in networks.items():
        facts = network.facts
        counts = facts.parameters, facts.mult_adds, facts.mult_adds_merged
        costs.append(Cost(name, *counts, statistics.median(seconds[name]), memory[name]))
    return costs


def _timed(network: nn.Module, image: Tensor) -> float:
    start = time.perf_counter()
    network(image)  # its result is copied to the CPU, which synchronises the device
    return time.perf_counter() - start


def printed(costs: Sequence[Cost], scale: int, where: str) -> Table:
    """The table for the terminal."""
    table = Table(title=title(scale, where), title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for cost in costs:
        table.add_row(*cost.cells())
    return table


def markdown(costs: Sequence[Cost], scale: int, where: str) -> str:
    """The same table in Markdown."""
    lines = [f"### {title(scale, where)}", "", f"| {' | '.join(HEADINGS)} |", "|---|" + "---:|" * (len(HEADINGS) - 1)]
    lines += [f"| {' | '.join(cost.cells())} |" for cost in costs]
    return "\n".join(lines) + "\n"


def title(scale: int, where: str) -> str:
    return f"Cost of {WIDTH}x{HEIGHT} at x{scale}, {where}"
