"""Interleaved timing of contenders in one process, after a check of their results.

Load, temperature and throttling of the machine affect all of them alike, so the ratio of two medians is meaningful even
where absolute times are not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache

import torch
from gpu_clock import GpuClock
from torch import Tensor

Results = dict[str, Tensor]
SLICE = 3e-3
"""Minimum seconds of a contender's turn; shorter calls are repeated."""

REST = 0.05
"""Seconds of pause before a turn on a CPU: the previous contender's threads still spin and would occupy cores."""


@dataclass
class Contender:
    """One implementation of a row's computation.

    Attributes:
        name: such as "native", "eager channels_last", "OpenVINO".
        run: computes it once; returns the results by name.
        ours: whether it is a backend of this package or a peer.
        context: entered before timing starts, left after the turn.
        is_graph: whether it replays a CUDA graph instead of launching kernels; it is compared with its like.
    """

    name: str
    run: Callable[[], Results]
    ours: bool = False
    context: Callable[[], AbstractContextManager] = nullcontext
    is_graph: bool = False

    def once(self) -> Results:
        with self.context():
            return self.run()


@dataclass
class Turns:
    """Timings of one contender: seconds per call, one figure per turn."""

    calls: int
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Fastest and slowest turn."""
        return min(self.seconds), max(self.seconds)


class WrongResult(AssertionError):
    """A contender's results are wrong; nothing is timed."""


Gate = Callable[[str, Results], None]
"""Check of results: raises :class:`WrongResult` for a contender (by name) with wrong ones."""


def check(contenders: Sequence[Contender], gate: Gate) -> None:
    """Run each contender once; raises WrongResult if one is wrong."""
    for contender in contenders:
        gate(contender.name, contender.once())


def calibrated(contender: Contender, device: torch.device) -> Turns:
    """Turns with the number of calls per turn of this contender, estimated after a warm-up call."""
    contender.once()
    _finish(device)
    start = time.perf_counter()
    contender.once()
    _finish(device)
    return Turns(max(1, min(1000, round(SLICE / max(time.perf_counter() - start, 1e-7)))))


def turn(contender: Contender, turns: Turns, device: torch.device) -> float:
    """Time one turn; returns and records the seconds per call."""
    with contender.context():
        if device.type == "cpu" and torch.get_num_threads() > 1:
            time.sleep(REST)
            contender.run()  # wakes its threads up
        _finish(device)
        taken = _seconds(contender.run, turns.calls, device)
    turns.seconds.append(taken)
    return taken


def _seconds(run: Callable[[], Results], calls: int, device: torch.device) -> float:
    if device.type == "cuda":
        return _gpu_clock(device).seconds(run, calls)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


@cache
def _gpu_clock(device: torch.device) -> GpuClock:
    return GpuClock(device)


def timed_in_turn(contenders: Sequence[Contender], gate: Gate, rounds: int, device: torch.device) -> dict[str, Turns]:
    """Check all contenders, then time them in turn; returns the timings by name."""
    check(contenders, gate)
    turns = {contender.name: calibrated(contender, device) for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            turn(contender, turns[contender.name], device)
    return turns


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
