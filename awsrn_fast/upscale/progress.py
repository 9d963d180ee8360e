"""Progress output: a bar on a terminal, a line per file and minute elsewhere, failures repeated at the end."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from awsrn_fast.cli import labelled, printable
from awsrn_fast.launcher import speaks

from .pipes import plain
from .plan import Job

_SILENCE = 60.0
"""Seconds after which an image still in progress is mentioned in a log."""


class _Speed(ProgressColumn):
    """Column with the output pixels per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed * task.fields['area'] / 1e6:.2f} MP/s")


class Report:
    """Progress of all jobs, as a context around them.

    Args:
        console: destination.
        sizes: input pixels of each job (0 where unknown), for the time left.
        scale: upscaling factor.
        remark: appended to the summary.
        wanted: another output size that the network's result is resampled to, such as "x3.5"; empty: none.
    """

    def __init__(self, console: Console, sizes: list[int], scale: int, remark: str = "", wanted: str = ""):
        self.console, self.sizes, self.scale, self.remark = console, sizes, scale, remark
        self.made = f"{wanted} (the network's x{scale}, resampled)" if wanted else f"x{scale}"
        self.failures: list[str] = []
        self._index, self._done = 0, 0.0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[images]}"),
            _Speed(),
            TimeRemainingColumn(),
            console=console,
            # Only the first of torchrun's processes draws on the shared terminal.
            disable=not console.is_terminal or not speaks(),
            transient=True,
        )
        self._task = self._bar.add_task("", total=sum(sizes), area=scale**2, images=f"0/{len(sizes)} images")

    def __enter__(self) -> Report:
        self._start = self._said = time.perf_counter()
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._bar.stop()

    def begin(self, job: Job) -> None:
        self._began = time.perf_counter()
        self._bar.update(self._task, description=printable(job.source.name))

    def advance(self, pixels: float) -> None:
        """Count input pixels that are done."""
        self._bar.advance(self._task, pixels)
        self._done += pixels
        now = time.perf_counter()
        if self._bar.disable and now - self._said > _SILENCE:
            self._said = now
            speed = self._done * self.scale**2 / 1e6 / (now - self._start)
            part = self._done / max(sum(self.sizes), self._done)
            self.console.print(f"{part:.0%} of all pixels, {speed:.2f} MP/s{self._left()}")

    def done(self, job: Job, before: tuple[int, int], after: tuple[int, int], notes: tuple[str, ...]) -> None:
        """Count one written image; sizes are (height, width)."""
        seconds = time.perf_counter() - self._began
        self._done = float(sum(self.sizes[: self._index + 1]))
        sizes = f"{before[1]}x{before[0]} to {after[1]}x{after[0]}"
        speed = after[0] * after[1] / 1e6 / seconds
        remark = f" ({'; '.join(notes)})" if notes else ""
        self._line(f"{job.source} -> {job.target}: {sizes}, {seconds:.1f} s, {speed:.2f} MP/s{self._left()}{remark}")

    def failed(self, message: str) -> None:
        message = plain(message)
        self.failures.append(message)
        self._line(f"failed: {message}", "red")

    def close(self) -> int:
        """Print the summary; returns the exit status."""
        seconds = time.perf_counter() - self._start
        good = len(self.sizes) - len(self.failures)
        self.console.print(f"{good} of {len(self.sizes)} images upscaled {self.made} in {seconds:.1f} s{self.remark}")
        for message in self.failures:
            self.console.print(labelled("failed", message, "bold red"))
        return 1 if self.failures else 0

    def _left(self) -> str:
        """Remaining time at the mean speed so far; empty if nothing is left."""
        left = sum(self.sizes) - self._done
        if left < 1 or self._done <= 0:
            return ""
        seconds = left * (time.perf_counter() - self._start) / self._done
        return f", {timedelta(seconds=round(seconds))} left"

    def _line(self, text: str, style: str = "") -> None:
        self._index += 1
        self._said, self._done = time.perf_counter(), float(sum(self.sizes[: self._index]))
        self._bar.update(
            self._task, completed=sum(self.sizes[: self._index]), images=f"{self._index}/{len(self.sizes)} images"
        )
        self.console.print(f"[{self._index}/{len(self.sizes)}] {plain(text)}", style=style)
