"""The training loop: steps, validations, checkpoints, and graceful interruption."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from awsrn_fast.checkpoint import save_weights
from awsrn_fast.cli import console, handle_ending
from awsrn_fast.config import Config
from awsrn_fast.data import Photos
from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing

from .distributed import World
from .loader import batches
from .lock import RunLock
from .logs import Metrics, progress_bar, save_samples
from .schedule import cycle_ends, learning_rate
from .state import Learner
from .step import Step
from .validation import Validator

SHOWN = ("perceptual", "adversarial", "discriminator")
"""Columns of losses.csv that the progress line shows."""

PATIENCE = 2.0
"""Seconds within which a second SIGINT is torchrun's copy of the first."""

FIRST_STEPS = 5
"""Steps after which the length of the run is estimated; the first of them is slower, and not counted."""

SHORT = 60
"""Seconds; the length of a shorter run is not told."""

GIVE_UP_AFTER = 50
"""Steps in a row without a finite loss that end the run."""


class Trainer:
    """Training of a configuration to its end or an interruption.

    Args:
        config: the run.
        learner: network, optimiser and counters, new or as resumed.
        step: performs one optimiser step.
        photos: training photographs.
        validator: evaluates the averaged weights.
        folder: the run's folder.
        world: the processes of the run; the first one writes files and messages.
        lock: the folder's lock, if this process holds it.
    """

    def __init__(
        self,
        config: Config,
        learner: Learner,
        step: Step,
        photos: Photos,
        validator: Validator,
        folder: Path,
        world: World,
        lock: RunLock | None = None,
    ) -> None:
        self.config, self.learner, self.step, self.photos, self.validator = config, learner, step, photos, validator
        self.folder, self.world, self.lock = folder, world, lock
        self.device = learner.model.mean.device
        events = folder if config.tensorboard else None
        self.metrics = Metrics(folder / "metrics.csv", learner.iteration, events) if world.is_first else None
        self.parts = None
        if world.is_first and step.columns:
            self.parts = Metrics(folder / "losses.csv", learner.iteration, events and events / "losses", step.columns)
        self.failures = 0
        self.last_loss = float("nan")
        self.waited = 0.0
        """Share of the time that was spent waiting for data."""

    def run(self) -> bool:
        """Train to the last iteration; returns False after an interruption, with everything saved."""
        config, learner = self.config, self.learner
        images, since = 0, time.perf_counter()
        start, warm = learner.iteration, 0.0
        with contextlib.ExitStack() as stack:
            interrupted = stack.enter_context(_interruption(self.world))
            bar = stack.enter_context(progress_bar(self.world.is_first))
            trace = stack.enter_context(_profiler(config.profile if self.world.is_first else 0, self.folder))
            task = bar.add_task(
                config.variant, total=config.iterations, completed=learner.iteration, figures="", psnr=self._psnr()
            )
            for lr_image, hr_image in self._batches():
                self._learn(lr_image, hr_image)
                if trace is not None:
                    trace.step()
                images += len(lr_image) * self.world.size
                if learner.iteration == start + 1:
                    warm = time.perf_counter()
                elif learner.iteration == start + FIRST_STEPS:
                    self._say_length((time.perf_counter() - warm) / (FIRST_STEPS - 1))
                if learner.iteration % config.log_every == 0 or learner.iteration == config.iterations:
                    now = time.perf_counter()
                    bar.update(task, figures=self._log(images / (now - since)))
                    images, since = 0, now
                if self._is_due(learner.iteration):
                    self._validate()
                    bar.update(task, psnr=self._psnr())
                    self._checkpoint()
                    since = time.perf_counter()
                elif learner.iteration % config.checkpoint_every == 0:
                    self._checkpoint()
                bar.update(task, completed=learner.iteration)
                if any(self.world.any(bool(interrupted))) and learner.iteration < config.iterations:
                    self._checkpoint()
                    return False
        return True

    def _say_length(self, step: float) -> None:
        """Tell how long the run takes at the speed of its first steps, where that is a minute or more."""
        left = step * (self.config.iterations - self.learner.iteration)
        if left >= SHORT:
            shown = f"{left / 60:.0f} minutes" if left < 5400 else f"{left / 3600:.1f} hours"
            self._say(f"a step takes {step:.2g} s: the run takes about {shown}")

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the remaining iterations; measures the time spent waiting for each."""
        source = batches(self.photos, self.config, self.learner.iteration, self.device, self.world)
        start, waited = time.perf_counter(), 0.0
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            now = time.perf_counter()
            waited += now - asked
            self.waited = waited / max(now - start, 1e-9)
            if batch is None:
                return
            yield batch

    def _learn(self, lr_image: Tensor, hr_image: Tensor) -> None:
        loss = self.step(lr_image, hr_image)
        if loss is None:
            self._skip()
            return
        self.failures = 0
        self.last_loss = self.world.mean(loss).item()
        self.learner.losses.append(self.last_loss)

    def _skip(self) -> None:
        self.learner.skipped += 1
        self.failures += 1
        self._say(f"step {self.learner.iteration}: loss or gradient is not finite; step skipped", style="yellow")
        if self.failures >= GIVE_UP_AFTER:
            raise RunError(
                f"{self.failures} steps in a row without a finite loss, up to step {self.learner.iteration} (the last "
                f"finite loss was {self.last_loss:.4g}): the run has diverged. The last good checkpoint is "
                f"{self.folder / 'last.safetensors'}; try a lower --lr or --dtype float32"
            )

    def _log(self, images_per_s: float) -> str:
        """Write a row of metrics; returns the figures for the progress bar."""
        learner = self.learner
        rate = learning_rate(learner.iteration - 1, self.config)
        loss = fmean(learner.losses) if learner.losses else float("nan")
        learner.losses = []
        if self.metrics is not None:
            self.metrics.add(learner.iteration, loss=loss, lr=rate, images_per_s=images_per_s)
        parts = self.step.figures()
        if self.parts is not None and parts:
            self.parts.add(learner.iteration, **parts)
        shown = "".join(f"{name} {value:.3g} " for name, value in parts.items() if name in SHOWN)
        figures = f"loss {loss:.4f} {shown}lr {rate:.1e} {images_per_s:.1f} images/s"
        if not console.is_terminal:
            self._say(f"{learner.iteration}/{self.config.iterations} {self._psnr()}{figures}")
        return figures

    def _psnr(self) -> str:
        return "" if self.learner.psnr is None else f"PSNR {self.learner.psnr:.2f} "

    def _is_due(self, iteration: int) -> bool:
        every = self.config.validate_every or self.config.checkpoint_every
        return iteration % every == 0 or iteration in cycle_ends(self.config)

    def _validate(self) -> None:
        learner = self.learner
        if self.metrics is None:
            return
        result = self.validator(learner.averaged)
        learner.psnr = result.psnr
        self.metrics.add(learner.iteration, val_psnr=result.psnr)
        save_samples(self.folder / "samples" / f"{learner.iteration:07d}.png", result.pictures)
        bicubic = self.validator.bicubic
        self._say(f"iteration {learner.iteration}: validation PSNR {result.psnr:.2f} dB, bicubic {bicubic:.2f} dB")
        if result.psnr > learner.best:
            learner.best = result.psnr
            self._save_weights("best.safetensors")

    def _checkpoint(self) -> None:
        if self.lock is not None:
            self.lock.check()
        if self.world.is_first:
            self._save_weights("last.safetensors")
            self.learner.save(self.folder)

    def _save_weights(self, name: str) -> None:
        learner = self.learner
        facts = {"iteration": learner.iteration, "iterations": self.config.iterations, "data": self.config.data}
        facts |= {"val_psnr": learner.psnr, "bicubic_psnr": self.validator.bicubic, "seed": self.config.seed}
        facts["stage"] = self.config.stage
        save_weights(self.folder / name, learner.averaged, training=facts)

    def _say(self, message: str, style: str = "") -> None:
        if self.world.is_first:
            console.print(message, style=style)


@contextlib.contextmanager
def _interruption(world: World) -> Iterator[list[float]]:
    """Context that yields a list, to which SIGINT (Ctrl-C), SIGTERM and SIGHUP append; a second Ctrl-C ends at once.

    The same signal may be delivered more than once: by the terminal and its shell, by a scheduler and torchrun.
    """
    received: list[float] = []

    def note(number: int, frame) -> None:
        if received and number == signal.SIGINT and time.monotonic() - received[0] > PATIENCE:
            raise KeyboardInterrupt
        if not received:
            received.append(time.monotonic())
            if world.is_first:
                console.print("stopping after this step, with a checkpoint; Ctrl-C once more to stop at once")

    before = handle_ending(note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _profiler(steps: int, folder: Path) -> Iterator[torch.profiler.profile | None]:
    """A profiler that writes trace.json of ``steps`` steps after a warm-up; None for 0 steps."""
    if not steps:
        yield None
        return
    schedule = torch.profiler.schedule(wait=2, warmup=2, active=steps, repeat=1)
    ready = partial(_write_trace, folder / "trace.json")
    with torch.profiler.profile(schedule=schedule, on_trace_ready=ready) as trace:
        yield trace


def _write_trace(path: Path, trace: torch.profiler.profile) -> None:
    with replacing(path) as beside:
        trace.export_chrome_trace(str(beside))
    console.print(f"profile written: {path}")
