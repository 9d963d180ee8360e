"""Loading of training data: from photographs to batches on the device."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from awsrn_fast.cli import ENDING, console, labelled, passing_bar
from awsrn_fast.config import SAMPLE, Config
from awsrn_fast.data import PatchSampler, Photos, open_photos, sample_folder
from awsrn_fast.data.cache import Split
from awsrn_fast.errors import RunError
from awsrn_fast.metrics import smallest_side

from .distributed import World
from .schedule import phase_at

Item = TypeVar("Item")

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def open_images(config: Config, world: World) -> tuple[Photos, Photos]:
    """Training and validation photographs; the latter from ``valid``, or held out from the training data.

    Broken images are reported and left out, and so are training copies of validation images.
    """
    photos = _open(config.data, config, "train", world)
    if not config.valid:
        return photos, _open(config.data, config, "valid", world)
    validation = _open(config.valid, config, None, world)
    others = photos.without(validation)
    if world.is_first and len(others) < len(photos):
        what = "and are not trained on" if len(others) else "all of them: validation says nothing of other images"
        console.print(f"{len(photos) - len(others)} training images are among the validation images, {what}")
    return others if len(others) else photos, validation


def changed_images(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each of training and validation images that differ from those the run started with."""
    changed = [name for name, found in before.items() if found != now[name]]
    return [
        f"other {name} images than the run began with ({before[name]}; now {now[name]}): training continues with these"
        for name in changed
    ]


def batches(
    photos: Photos, config: Config, start: int, device: torch.device, world: World
) -> Iterator[tuple[Tensor, Tensor]]:
    """``(lr [B, 3, P, P], hr [B, 3, s*P, s*P])`` in [0, 1] on ``device`` for every iteration from ``start`` on.

    B is this process's share of the batch; the union over processes is the single-process batch.
    """
    with console.status("measuring which patches are hard, once"):
        fass = config.fass_fraction if config.fass else 0.0
        sampler = PatchSampler(photos, config.seed, fass_fraction=fass, degradation=config.degradation)
    automatic = 0 if device.type == "cpu" else 4
    loader = DataLoader(
        _Batches(sampler, config, world),
        batch_size=None,  # an item is a whole batch already
        sampler=range(start, config.iterations),
        num_workers=automatic if config.workers < 0 else config.workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_outlast_signals,
        generator=torch.Generator(),  # its own: the default draws from the global one, which a resumed run restores
    )
    for pair in _ahead(iter(loader)):
        lr, hr = (t.to(device, non_blocking=True).float().div_(255) for t in pair)
        yield lr, hr


def _ahead(source: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The items of ``source``, prefetched in a thread while the caller works on the previous one.

    The network releases the GIL while it computes, so sampling is hidden even without worker processes.
    """
    with ThreadPoolExecutor(1) as pool:
        coming = deque(pool.submit(next, source, None) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(pool.submit(next, source, None))
                yield item
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = str(error).splitlines()[0]
            raise RunError(
                f"a data-loading process was killed ({reason}): too little memory? Try --workers 0"
            ) from error


def _outlast_signals(worker: int) -> None:
    """Ignore signals in a worker; the run ends its workers, which must survive a signal to the whole process group."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


class _Batches(Dataset):
    """Batch by iteration: a pure function of the seed and the iteration, so that workers hold no state."""

    def __init__(self, sampler: PatchSampler, config: Config, world: World) -> None:
        self.sampler, self.config, self.world = sampler, config, world

    def __len__(self) -> int:
        return self.config.iterations

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        phase = phase_at(iteration, self.config)
        share = self.world.share(phase.batch)
        return self.sampler.batch(iteration, phase.patch, share, first=self.world.rank * share)


def _open(folders: tuple[str, ...], config: Config, split: Split | None, world: World) -> Photos:
    # Training patches are degraded individually; validation images once, seeded by their content.
    degradation = None if split == "train" else config.degradation
    paths = [sample_folder() if folder == SAMPLE else Path(folder) for folder in folders]
    with passing_bar(*_COLUMNS, visible=world.is_first) as bar:
        task = bar.add_task("decoding images, once", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        least = smallest_side(config.scale)
        photos = open_photos(paths, config.scale, degradation=degradation, split=split, least=least, progress=advance)
    if not world.is_first:
        return photos
    for line in photos.remarks:
        console.print(line)
    for line in photos.skipped:
        console.print(labelled("skipped", line, "yellow"))
    if photos.skipped:
        console.print(f"{len(photos.skipped)} of {len(photos.skipped) + len(photos)} images skipped")
    return photos
