"""One backward pass by however many processes torchrun starts: ``shared_step.py PHOTOS OUT``.

The first process writes the gradients, every process the places its samples come from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from awsrn_fast.config import Config
from awsrn_fast.data import PatchSampler, open_photos
from awsrn_fast.models import create
from awsrn_fast.train.distributed import World, joined
from awsrn_fast.train.loader import batches
from awsrn_fast.train.state import Learner
from awsrn_fast.train.step import Step

CONFIG = Config(scale=2, curriculum=False, patch=10, batch=4, iterations=2, ema=0.0)


def gradients(photos_folder: Path, dtype: torch.dtype, world: World) -> tuple[dict[str, torch.Tensor], list]:
    """Gradients of step 1, and the samples of this process."""
    torch.manual_seed(0)
    photos = open_photos([photos_folder], CONFIG.scale)
    learner = Learner(create("improved-s", CONFIG.scale).to(dtype), ema=0.0, scale_gradients=False)
    step = Step(CONFIG, learner, torch.float32, world)
    lr, hr = next(batches(photos, CONFIG, 0, torch.device("cpu"), world))
    step.loss(lr.to(dtype), hr.to(dtype)).backward()
    sampler = PatchSampler(photos, CONFIG.seed, fass_fraction=CONFIG.fass_fraction)
    first = world.rank * world.share(CONFIG.batch)
    places = [sampler.place(0, i, CONFIG.patch) for i in range(first, first + world.share(CONFIG.batch))]
    return {name: p.grad for name, p in learner.model.named_parameters()}, places


def main(photos: str, out: str) -> None:
    with joined(torch.device("cpu")) as world:
        for dtype in (torch.float32, torch.float64):
            found, places = gradients(Path(photos), dtype, world)
            if world.is_first:
                torch.save(found, Path(out, f"{dtype}.pt"))
        Path(out, f"places{world.rank}.txt").write_text("\n".join(map(repr, places)))


if __name__ == "__main__":
    main(*sys.argv[1:])
