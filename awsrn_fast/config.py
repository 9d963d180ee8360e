"""Configuration of a training run: one dataclass, filled from a preset, a YAML file and the command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import UserError
from .models import SCALES, VARIANTS

SAMPLE = "sample"
"""Name of the embedded photographs where a data folder is expected."""


@dataclass(frozen=True)
class Config:
    """A training run.

    Args:
        variant: network, such as improved-s or awsrn-full.
        scale: upscaling factor, 2, 3, 4 or 8.
        data: folders of training images, searched with their subfolders, or DIV2K's layout; "sample" is the
            embedded photographs.
        valid: folders of validation images; empty: some images of the training data are held out.
        out: the run's folder.
        resume: go on with the run in that folder.
        iterations: optimiser steps in all.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations; 0: at checkpoints.
        log_every: steps between rows of metrics.csv.
        seed: of weights, samples and augmentation.
        device: auto, cpu, cuda, cuda:1, ...
        dtype: auto, float32, bfloat16 or float16 (with gradient scaling).
        channels_last: memory format of the network.
        compile: use torch.compile.
        workers: processes that cut patches; -1: none on a CPU, 4 beside a GPU.
        lr: peak learning rate.
        lr_min: learning rate at the end of a cycle.
        sgdr: cosine with warm restarts, four cycles; off: halved at every fifth of the iterations.
        curriculum: LR patch 32, 48, 64 with batch 32, 16, 8 from 0, 30 and 70 % on; off: patch and batch.
        patch: LR patch side without the curriculum.
        batch: patches of a step without the curriculum.
        fass: draw a part of the patches from the hardest ones.
        fass_fraction: that part.
        ema: decay of the averaged weights that are validated and kept; 0: the plain weights.
        clip: largest norm of the gradient; 0: not clipped.
        blur: Gaussian blur before shrinking, sigma in HR pixels.
        noise: Gaussian noise on the LR image, sigma in grey levels.
        jpeg: JPEG quality of the LR image, 1 to 95; 0: none.
        lrfu: fusion in the improved network's blocks, "hierarchical" or the baseline's "concat".
        gap: means for the improved network's gates, of a unit's "input" or of its "residual".
        block: side of the blocks of the non-local fusion; 0: every position.
        halo: reach of the non-local fusion beyond its block.
        tensorboard: write TensorBoard events, too.
        init: weights file to start from.
    """

    variant: str = "improved-s"
    scale: int = 4
    data: list[str] = field(default_factory=lambda: [SAMPLE])
    valid: list[str] = field(default_factory=list)
    out: str = ""
    resume: bool = False
    iterations: int = 100_000
    checkpoint_every: int = 1000
    validate_every: int = 0
    log_every: int = 20
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    channels_last: bool = True
    compile: bool = False
    workers: int = -1
    lr: float = 1e-3
    lr_min: float = 1e-7
    sgdr: bool = True
    curriculum: bool = True
    patch: int = 48
    batch: int = 16
    fass: bool = True
    fass_fraction: float = 0.5
    ema: float = 0.999
    clip: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 0
    lrfu: Literal["hierarchical", "concat"] = "hierarchical"
    gap: Literal["input", "residual"] = "input"
    block: int = 32
    halo: int = 8
    tensorboard: bool = False
    init: str = ""

    @property
    def run_folder(self) -> str:
        """``out``, or a folder named by the network."""
        return self.out or f"runs/{self.variant}-x{self.scale}"

    @property
    def network_options(self) -> dict[str, Any]:
        """Arguments of the network's class beyond its sizes."""
        if not self.variant.startswith("improved"):
            return {}
        return {"lrfu": self.lrfu, "gap": self.gap, "block": self.block or None, "halo": self.halo}

    def check(self) -> None:
        """Raise UserError naming the first field with a value that cannot be used."""
        rules = {
            "variant": (self.variant in VARIANTS, f"one of {', '.join(VARIANTS)}"),
            "scale": (self.scale in SCALES, f"one of {', '.join(map(str, SCALES))}"),
            "data": (bool(self.data), "at least one folder"),
            "ema": (0 <= self.ema < 1, "at least 0 and below 1"),
            "fass_fraction": (0 <= self.fass_fraction <= 1, "from 0 to 1"),
            "jpeg": (0 <= self.jpeg <= 95, "0 (none) or a quality from 1 to 95"),
            "lr": (self.lr > 0, "above 0"),
            "workers": (self.workers >= -1, "-1 (automatic) or more"),
        }
        for name in ("iterations", "checkpoint_every", "log_every", "patch", "batch"):
            rules[name] = (getattr(self, name) >= 1, "at least 1")
        for name in ("validate_every", "lr_min", "clip", "blur", "noise", "block", "halo", "seed"):
            rules[name] = (getattr(self, name) >= 0, "at least 0")
        for name, (good, allowed) in rules.items():
            if not good:
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)!r}: must be {allowed}")


PRESETS: dict[str, dict[str, Any]] = {
    # Ends in a few minutes on two CPU cores, so that a newcomer sees the whole job.
    "quick": {
        "variant": "improved-s",
        "scale": 4,
        "iterations": 400,
        "checkpoint_every": 100,
        "curriculum": False,
        "patch": 32,
        "batch": 8,
        "sgdr": False,
        "ema": 0.98,
    },
    # The recipe of the improved network's paper (MPTS).
    "mpts": {},
    # The public AWSRN recipe: plain L1 training of the baseline.
    "awsrn": {
        "variant": "awsrn-full",
        "iterations": 1_000_000,
        "sgdr": False,
        "curriculum": False,
        "fass": False,
        "ema": 0.0,
        "clip": 0.0,
    },
}
"""Defaults by name; the configuration file and the command line come after them."""

CHANGEABLE_ON_RESUME = ("resume", "out", "iterations", "checkpoint_every", "log_every", "device", "workers", "tensorboard")
"""Fields that a resumed run may change; the others decide what the run computes."""


def difference(before: Config, now: Config) -> list[str]:
    """Fields, other than the changeable ones, in which two configurations differ."""
    names = [f.name for f in dataclasses.fields(Config) if f.name not in CHANGEABLE_ON_RESUME]
    return [name for name in names if getattr(before, name) != getattr(now, name)]
