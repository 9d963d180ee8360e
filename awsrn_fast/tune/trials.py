"""Correctness checks and timing of candidate tiles, and the file of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from triton.errors import TritonError

from awsrn_fast import backends, ops
from awsrn_fast.errors import UserError
from awsrn_fast.files import write_text
from awsrn_fast.kernels import _tuned
from awsrn_fast.kernels._gpu import Gpu
from awsrn_fast.kernels._tiles import SPACES, Tiles, trying
from awsrn_fast.ops._cases import FLOOR, Case

from .problems import Task

LEAST_GAIN = 0.03
"""Least relative speed-up over the default tile; a smaller one may be noise."""
RAGGED = (13, 11)
"""Height and width of the small maps on which a candidate is checked, too: no block divides their positions."""

Timer = Callable[[Callable[[], Any]], float]
"""Function that returns the milliseconds of a call."""


class Found(NamedTuple):
    """The fastest correct tile of a problem, compared with the kernel's default.

    Attributes:
        tiles: the fastest tile; empty: the kernel's default.
        ms: milliseconds of a call with it.
        own_ms: milliseconds of a call with the default.
        refused: candidates that were not timed, each with the reason.
    """

    tiles: Tiles
    ms: float
    own_ms: float
    refused: list[str]


class Wrong(Exception):
    """A kernel's results are wrong; says which and by how much."""


class Trial:
    """The call that a task is measured in, on one case, with its expected results."""

    def __init__(self, task: Task, case: Case, device: torch.device) -> None:
        dtype = task.problem.dtype
        self.op, self.backward = task.op, task.backward
        self.arguments = {name: _laid_out(value, task.layout) for name, value in case.make(dtype, str(device)).items()}
        reference = ops.ROWS[task.op].reference
        exact = {k: v.double() if isinstance(v, Tensor) else v for k, v in self.arguments.items()}
        self.exact = self._results(reference, exact)
        self.allowed = {}
        for name, value in self._results(reference, self.arguments).items():  # flash-attention's rule
            truth = self.exact[name]
            off = (value.double() - truth).abs().max().item()
            self.allowed[name] = 2 * off + FLOOR[dtype] * max(truth.square().mean().sqrt().item(), 1e-3)

    def check(self) -> None:
        """Raise Wrong if an output, or a gradient of the backward pass, is wrong."""
        for name, value in self._results(ops.ROWS[self.op], self.arguments).items():
            off = (value.double() - self.exact[name]).abs().max().item()
            if not off <= self.allowed[name]:  # NaN, too
                raise Wrong(f"{name} is off by {off:.3g}, allowed {self.allowed[name]:.3g}")

    def call(self) -> Callable[[], Any]:
        """The timed call: the forward pass, or the backward pass alone."""
        if not self.backward:
            return torch.no_grad()(lambda: self._forward(ops.ROWS[self.op], self.arguments))
        graph = self._graph(ops.ROWS[self.op], self.arguments)
        return lambda: torch.autograd.grad(*graph, retain_graph=True)

    def _forward(self, function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Tensor, ...]:
        with backends.use_backend(**{self.op: "triton"}):
            outputs = function(**arguments)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _graph(self, function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Any, list[Tensor], list[Tensor]]:
        leaves = {k: v.detach().requires_grad_() for k, v in arguments.items() if isinstance(v, Tensor)}
        outputs = self._forward(function, arguments | leaves)
        generator = torch.Generator().manual_seed(1)
        seeds = [torch.randn(y.shape, generator=generator, dtype=torch.float64, device="cpu").to(y) for y in outputs]
        return outputs, list(leaves.values()), seeds

    def _results(self, function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Tensor]:
        if not self.backward:
            with torch.no_grad():
                return {f"output {i}": y for i, y in enumerate(self._forward(function, arguments))}
        names = [k for k, v in arguments.items() if isinstance(v, Tensor)]
        gradients = torch.autograd.grad(*self._graph(function, arguments))
        return {f"gradient of {name}": g for name, g in zip(names, gradients, strict=True)}


def measure(task: Task, device: torch.device, timer: Timer, advance: Callable[[], None] = lambda: None) -> Found:
    """Check each candidate on ragged maps and on the case itself, and time the correct ones.

    Raises:
        Wrong: the kernel's default tile is wrong, too.
    """
    small = ragged(task.case)
    trials = [Trial(task, case, device) for case in ([task.case] if small == task.case else [small, task.case])]
    call = trials[-1].call()
    own, *others = task.candidates
    times: list[tuple[float, Tiles]] = []
    refused = []
    for tiles in (own, *others):
        try:
            with trying(task.problem, tiles):
                for trial in trials:
                    trial.check()
                times.append((timer(call), tiles))
        except Wrong as error:
            if tiles is own:
                raise
            refused.append(f"{show(tiles)}: {error}")
        except (TritonError, RuntimeError) as error:
            # Out of shared memory or registers; AMD's compiler fails in various passes.
            if tiles is own or not (isinstance(error, TritonError) or "PassManager" in str(error)):
                raise
            refused.append(f"{show(tiles)}: {str(error).splitlines()[0]}")
        advance()
    own_ms = times[0][0]
    best_ms, best = min(times, key=lambda timed: timed[0])
    if best_ms > (1 - LEAST_GAIN) * own_ms:
        return Found({}, own_ms, own_ms, refused)
    return Found({name: best[name] for name in SPACES[task.problem.kernel]}, best_ms, own_ms, refused)


def ragged(case: Case) -> Case:
    """The case on small maps."""
    shapes = {
        name: (*shape[:2], *RAGGED) if shape is not None and len(shape) == 4 and min(shape[2:]) > 9 else shape
        for name, shape in case.shapes.items()
    }
    return replace(case, shapes=shapes)


def _laid_out(value: Any, layout: torch.memory_format) -> Any:
    if not isinstance(value, Tensor) or value.dim() != 4:
        return value
    return value.contiguous(memory_format=layout)


def show(tiles: Tiles) -> str:
    return " ".join(f"{name}={value}" for name, value in tiles.items())


class File:
    """File ``tuned/<gpu>.json``, rewritten atomically after each problem."""

    def __init__(self, path: Path, gpu: Gpu) -> None:
        """Reads what an earlier run found.

        Raises:
            UserError: the file is for another GPU or release of Triton, or was not written by tuning.
        """
        self.path = path
        self.content: dict[str, Any] = {"gpu": gpu.name, "arch": gpu.arch, "triton": _tuned.release(), "problems": {}}
        if not path.exists():
            return
        try:
            before = _tuned.read(path, SPACES)
        except ValueError as error:
            raise UserError(f"{error}; delete it, or name another file with --out") from error
        if before["gpu"] != gpu.name:
            raise UserError(f"{path} is of {before['gpu']}, this is {gpu.name}: name another file with --out")
        self.content = before

    def has(self, task: Task) -> bool:
        return task.problem.name in self.content["problems"]

    def add(self, task: Task, found: Found) -> None:
        entry = {"tiles": found.tiles, "ms": found.ms, "own_ms": found.own_ms}
        self.content["problems"][task.problem.name] = entry
        write_text(self.path, json.dumps(self.content, indent=1) + "\n")


def tune(
    tasks: Sequence[Task],
    file: File,
    device: torch.device,
    timer: Timer,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Task, Found | Wrong]]:
    """Measure the tasks missing in the file, saving after each; yields the results."""
    for task in tasks:
        if file.has(task):
            continue
        try:
            found = measure(task, device, timer, advance)
        except Wrong as error:
            yield task, error
            continue
        file.add(task, found)
        yield task, found
