"""From photographs to batches on the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from awsrn_fast.cli import console
from awsrn_fast.config import SAMPLE, Config
from awsrn_fast.data import Degradation, PatchSampler, Photos, open_photos, sample_folder

from .schedule import phase_at

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def open_training(config: Config) -> Photos:
    """The photographs to learn from; broken images are named and left out."""
    return _open(config.data, config, "train")


def open_validation(config: Config) -> Photos:
    """The photographs to validate on: ``valid``, or those that the training data hold out."""
    return _open(config.valid, config, None) if config.valid else _open(config.data, config, "valid")


def batches(photos: Photos, config: Config, start: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """``(lr [B, 3, P, P], hr [B, 3, s*P, s*P])`` in [0, 1] on ``device`` for every iteration from ``start`` on."""
    with console.status("measuring which patches are hard, once"):
        sampler = PatchSampler(photos, config.seed, fass_fraction=config.fass_fraction if config.fass else 0.0)
    automatic = 0 if device.type == "cpu" else 4
    loader = DataLoader(
        _Batches(sampler, config),
        batch_size=None,  # an item is a whole batch already
        sampler=range(start, config.iterations),
        num_workers=automatic if config.workers < 0 else config.workers,
        pin_memory=device.type == "cuda",
    )
    for pair in loader:
        lr, hr = (t.to(device, non_blocking=True).float().div_(255) for t in pair)
        yield lr, hr


class _Batches(Dataset):
    """Batch by iteration: a pure function of the seed and the iteration, so that workers hold no state."""

    def __init__(self, sampler: PatchSampler, config: Config) -> None:
        self.sampler, self.config = sampler, config

    def __len__(self) -> int:
        return self.config.iterations

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        phase = phase_at(iteration, self.config)
        return self.sampler.batch(iteration, phase.patch, phase.batch)


def _open(folders: tuple[str, ...], config: Config, split: str | None) -> Photos:
    degradation = Degradation(blur=config.blur, noise=config.noise, jpeg=config.jpeg or None)
    paths = [sample_folder() if folder == SAMPLE else Path(folder) for folder in folders]
    with Progress(*_COLUMNS, console=console, transient=True) as bar:
        task = bar.add_task("decoding images, once", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        photos = open_photos(paths, config.scale, degradation=degradation, split=split, progress=advance)
    for line in photos.remarks:
        console.print(line)
    for line in photos.skipped:
        console.print(f"[yellow]skipped:[/] {line}")
    if photos.skipped:
        console.print(f"{len(photos.skipped)} of {len(photos.skipped) + len(photos)} images skipped")
    return photos
