"""The training loop: steps, validations, checkpoints, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.checkpoint import save_weights
from awsrn_fast.cli import console
from awsrn_fast.config import Config
from awsrn_fast.data import Photos
from awsrn_fast.errors import RunError

from .loader import batches
from .report import Metrics, progress_bar, save_samples
from .schedule import cycle_ends, learning_rate
from .state import Learner
from .validation import Validator

GIVE_UP_AFTER = 50
"""Steps in a row without a finite loss that end the run."""


class Trainer:
    """Runs a configuration to its end, or to the interruption.

    Args:
        config: the run.
        learner: network, optimiser and counters, new or as resumed.
        photos: training photographs.
        validator: measures the averaged weights.
        folder: the run's folder.
        dtype: of the autocast; float32: none.
    """

    def __init__(
        self, config: Config, learner: Learner, photos: Photos, validator: Validator, folder: Path, dtype: torch.dtype
    ) -> None:
        self.config, self.learner, self.photos, self.validator = config, learner, photos, validator
        self.folder, self.dtype = folder, dtype
        self.device = learner.model.mean.device
        self.network = torch.compile(learner.model) if config.compile else learner.model
        self.metrics = Metrics(folder / "metrics.csv", learner.iteration, folder if config.tensorboard else None)
        self.psnr: float | None = None
        self.failures = 0
        self.last_validated = -1

    def run(self) -> bool:
        """Train to the last iteration; False if Ctrl-C or SIGTERM ended it before, with everything saved."""
        config, learner = self.config, self.learner
        start, done_before = time.perf_counter(), learner.iteration
        losses: list[Tensor] = []
        images, since = 0, start
        with _interruption() as interrupted, progress_bar() as bar:
            task = bar.add_task(config.variant, total=config.iterations, completed=done_before, figures="")
            for lr_image, hr_image in batches(self.photos, config, learner.iteration, self.device):
                losses.append(self._step(lr_image, hr_image))
                images += len(lr_image)
                if learner.iteration % config.log_every == 0 or learner.iteration == config.iterations:
                    mean = torch.stack(losses).mean().item()
                    now = time.perf_counter()
                    self._log(bar, task, mean, images / (now - since))
                    losses, images, since = [], 0, now
                if self._is_due(learner.iteration):
                    self._validate()
                    self._checkpoint()
                    since = time.perf_counter()
                elif learner.iteration % config.checkpoint_every == 0:
                    self._checkpoint()
                bar.update(task, completed=learner.iteration)
                if interrupted and learner.iteration < config.iterations:
                    self._checkpoint()
                    return False
        if self.last_validated != learner.iteration:
            self._validate()
            self._checkpoint()
        return True

    def _step(self, lr_image: Tensor, hr_image: Tensor) -> Tensor:
        """One optimiser step; the loss, detached. A loss that is not finite changes nothing."""
        config, learner = self.config, self.learner
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(learner.iteration, config)
        if config.channels_last:
            lr_image = lr_image.contiguous(memory_format=torch.channels_last)
        learner.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            output = self.network(lr_image)
        loss = F.l1_loss(output.float(), hr_image)
        learner.iteration += 1
        if not torch.isfinite(loss):
            self._skip()
            return loss.detach().new_zeros(())
        self.failures = 0
        learner.scaler.scale(loss).backward()
        learner.scaler.unscale_(learner.optimizer)
        if config.clip:
            torch.nn.utils.clip_grad_norm_(learner.model.parameters(), config.clip)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        if learner.average is not None:
            learner.average.update_parameters(learner.model)
        return loss.detach()

    def _skip(self) -> None:
        self.learner.skipped += 1
        self.failures += 1
        console.print(f"[yellow]step {self.learner.iteration}: the loss is not finite; step skipped[/]")
        if self.failures >= GIVE_UP_AFTER:
            raise RunError(
                f"{self.failures} steps in a row without a finite loss, up to step {self.learner.iteration}: the run "
                f"has diverged. The last good checkpoint is {self.folder / 'last.safetensors'}; try a lower --lr or "
                f"--dtype float32"
            )

    def _log(self, bar, task, loss: float, images_per_s: float) -> None:
        rate = learning_rate(self.learner.iteration - 1, self.config)
        self.metrics.add(self.learner.iteration, loss=loss, lr=rate, images_per_s=images_per_s)
        psnr = "" if self.psnr is None else f"PSNR {self.psnr:.2f} "
        figures = f"{psnr}loss {loss:.4f} lr {rate:.1e} {images_per_s:.1f} images/s"
        bar.update(task, figures=figures)
        if not console.is_terminal:
            console.print(f"{self.learner.iteration}/{self.config.iterations} {figures}")

    def _is_due(self, iteration: int) -> bool:
        every = self.config.validate_every or self.config.checkpoint_every
        return iteration % every == 0 or iteration in cycle_ends(self.config)

    def _validate(self) -> None:
        learner = self.learner
        result = self.validator(learner.averaged)
        self.psnr, self.last_validated = result.psnr, learner.iteration
        self.metrics.add(learner.iteration, val_psnr=result.psnr)
        save_samples(self.folder / "samples" / f"{learner.iteration:07d}.png", result.pictures)
        console.print(
            f"iteration {learner.iteration}: validation PSNR {result.psnr:.2f} dB, "
            f"bicubic {self.validator.bicubic:.2f} dB"
        )
        if result.psnr > learner.best:
            learner.best = result.psnr
            self._save_weights("best.safetensors")

    def _checkpoint(self) -> None:
        self._save_weights("last.safetensors")
        self.learner.save(self.folder / "state.pt")

    def _save_weights(self, name: str) -> None:
        facts = {"iteration": self.learner.iteration, "iterations": self.config.iterations, "data": self.config.data}
        facts |= {"val_psnr": self.psnr, "bicubic_psnr": self.validator.bicubic, "seed": self.config.seed}
        save_weights(self.folder / name, self.learner.averaged, training=facts)


@contextlib.contextmanager
def _interruption() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C or SIGTERM came; the second one ends the process at once."""
    received: list[int] = []

    def note(number: int, frame) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        console.print("stopping after this step, with a checkpoint; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
