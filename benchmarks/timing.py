"""Contenders for one piece of work: checked first, then timed in turn, in one process.

A machine that is busy, warm or throttled is so for all of them alike, so the ratio of two medians means something
where the times themselves do not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

Results = dict[str, Tensor]
SLICE = 3e-3
"""Seconds that a contender runs for at least in its turn, in several calls if one is shorter."""

REST = 0.05
"""Seconds before a turn on a CPU: threads of the last contender's pool spin for a while and would take its cores."""


@dataclass
class Contender:
    """One way to do a row's work.

    Attributes:
        name: such as "native", "eager channels_last", "OpenVINO".
        run: does it once; its results by name.
        ours: a backend of this package, as against a peer.
        context: entered around a turn, outside the clock of none of its calls.
    """

    name: str
    run: Callable[[], Results]
    ours: bool = False
    context: Callable[[], AbstractContextManager] = nullcontext

    def once(self) -> Results:
        with self.context():
            return self.run()


@dataclass
class Turns:
    """Seconds a call of one contender, one figure a turn."""

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
    """A contender computes something else; nothing is timed."""


Gate = Callable[[str, Results], None]
"""Raises :class:`WrongResult` for a contender (by name) with wrong results."""


def check(contenders: Sequence[Contender], gate: Gate) -> None:
    """Run each contender once and refuse the row if one of them is wrong."""
    for contender in contenders:
        gate(contender.name, contender.once())


def calibrated(contender: Contender, device: torch.device) -> Turns:
    """How many calls a turn of this contender has, after a call to warm it up."""
    contender.once()
    _finish(device)
    start = time.perf_counter()
    contender.once()
    _finish(device)
    return Turns(max(1, min(1000, round(SLICE / max(time.perf_counter() - start, 1e-7)))))


def turn(contender: Contender, turns: Turns, device: torch.device) -> float:
    """One turn; seconds a call, which are noted, too."""
    with contender.context():
        if device.type == "cpu" and torch.get_num_threads() > 1:
            time.sleep(REST)
            contender.run()  # its own threads wake up
        _finish(device)
        start = time.perf_counter()
        for _ in range(turns.calls):
            contender.run()
        _finish(device)
        taken = (time.perf_counter() - start) / turns.calls
    turns.seconds.append(taken)
    return taken


def timed_in_turn(contenders: Sequence[Contender], gate: Gate, rounds: int, device: torch.device) -> dict[str, Turns]:
    """Check all, then time them in turn; turns by name."""
    check(contenders, gate)
    turns = {contender.name: calibrated(contender, device) for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            turn(contender, turns[contender.name], device)
    return turns


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
