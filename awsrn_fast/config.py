"""Configuration of a training run: one dataclass, filled from a preset, a YAML file and the command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from .data.degrade import Degradation
from .errors import UserError
from .losses import STAGES
from .losses.discriminator import PATCH
from .losses.vgg import FILE_NAME, SOURCE, check_layers
from .models import SCALES, VARIANTS

SAMPLE = "sample"
"""Name of the embedded photographs where a data folder is expected."""


def _option(default: Any, text: str, metavar: str = "DIR") -> Any:
    return field(default=default, metadata={"help": text, "metavar": metavar})


@dataclass(frozen=True)
class Config:
    """A training run; every field is an option of ``python -m awsrn_fast.train`` and a key of its YAML file."""

    variant: str = _option("improved-s", "network, such as improved-s or awsrn-full")
    scale: int = _option(4, "upscaling factor, 2, 3, 4 or 8")
    data: tuple[str, ...] = _option(
        (SAMPLE,),
        "folders of training images with their subfolders, or DIV2K's layout; sample: the embedded photographs",
    )
    valid: tuple[str, ...] = _option(
        (), "folders of validation images; empty: some images of the training data are held out"
    )
    out: str = _option("", "the run's folder")
    resume: bool = _option(False, "go on with the run in that folder")
    rewind: bool = _option(False, "with --resume: go on from the checkpoint before the last one")
    iterations: int = _option(100_000, "optimiser steps in all")
    checkpoint_every: int = _option(1000, "steps between checkpoints")
    validate_every: int = _option(0, "steps between validations; 0: at checkpoints")
    log_every: int = _option(20, "steps between rows of metrics.csv")
    seed: int = _option(0, "random seed of weights, samples and augmentation")
    device: str = _option("auto", "auto, cpu, cuda, or one of several such as cuda:1")
    dtype: str = _option("auto", "auto, float32, bfloat16 or float16 (with gradient scaling)")
    channels_last: bool = _option(True, "memory format of the network")
    compile: Literal["none", "default", "graphs"] = _option(
        "none", "torch.compile of the network: none, default, or graphs, which replays it as CUDA graphs"
    )
    checkpoint_activations: bool = _option(
        False, "keep only the input of each LFB and compute the rest again in the backward pass: less memory, more time"
    )
    memory_limit: str = _option(
        "", "size such as 8GB: a run that is predicted to take more of a device's memory does not start; empty: none"
    )
    workers: int = _option(-1, "data-loading processes; -1: none on a CPU, 4 with a GPU")
    lr: float = _option(1e-3, "peak learning rate")
    lr_min: float = _option(1e-7, "learning rate at the end of a cycle")
    sgdr: bool = _option(True, "cosine with warm restarts; off: halved at every fifth of the iterations")
    cycles: int = _option(4, "cosine cycles with --sgdr; 1: a single cosine without restarts")
    plateau: float = _option(
        0.0,
        "share of each cycle that stays at the peak learning rate before the cosine falls; a run that is resumed with "
        "more --iterations extends it",
    )
    curriculum: bool = _option(
        True, "LR patch 32, 48, 64 with batch 32, 16, 8 from 0, 30 and 70 % on; off: patch and batch"
    )
    patch: int = _option(48, "LR patch side without the curriculum")
    batch: int = _option(16, "patches of a step without the curriculum")
    fass: bool = _option(True, "draw a fraction of the patches from the hardest ones")
    fass_fraction: float = _option(0.5, "fraction of patches drawn from the hardest ones")
    ema: float = _option(0.999, "decay of the averaged weights that are validated and kept; 0: the plain weights")
    clip: float = _option(1.0, "largest norm of the gradient; 0: not clipped")
    blur: tuple[float, ...] = _option(
        (0.0,),
        "Gaussian blur before shrinking, sigma in HR pixels; two numbers, here and in the next three: a range, from "
        "which a value is drawn for every patch",
        "X",
    )
    noise: tuple[float, ...] = _option((0.0,), "Gaussian noise on the LR image, sigma in gray levels", "X")
    poisson: tuple[float, ...] = _option(
        (0.0,), "Poisson noise on the LR image: its sigma is this times the root of the level", "X"
    )
    jpeg: tuple[int, ...] = _option((0,), "JPEG quality of the LR image, 1 to 95; 0: none", "Q")
    anisotropic: bool = _option(False, "draw the blur's sigma independently along two axes, and their angle")
    resize: tuple[str, ...] = _option(
        ("bicubic",),
        "kernels to shrink with, one drawn for every patch: bicubic, area, bilinear, lanczos",
        "NAME",
    )
    second_order: float = _option(
        0.0, "share of the patches that are degraded twice, first to a size between that of HR and LR"
    )
    lrfu: Literal["hierarchical", "concat"] = _option(
        "hierarchical", "fusion in the improved network's blocks, hierarchical or the baseline's concat"
    )
    gap: Literal["input", "residual"] = _option(
        "input", "means for the improved network's gates, of a unit's input or of its residual"
    )
    kernels: tuple[int, ...] = _option(
        (), "kernel sizes of the reconstruction's branches, such as a pruned network's; empty: the variant's own", "K"
    )
    block: int = _option(32, "side of the blocks of the non-local fusion; 0: every position")
    halo: int = _option(8, "reach of the non-local fusion beyond its block")
    profile: int = _option(0, "write trace.json of this many steps after the first four, for chrome://tracing; 0: none")
    tensorboard: bool = _option(False, "write TensorBoard events, too")
    init: str = _option(
        "",
        "weights to start from, a file or a name; of another scale: all but skip and reconstruction, which start "
        "fresh; stages G and G-literal need those of a run in stage P",
    )
    stage: Literal["P", "G", "G-literal"] = _option(
        "P",
        "losses that are minimised: P, L1 alone, for PSNR; G, with VGG and GAN losses, for perceptual quality; "
        "G-literal, VGG and GAN losses alone. G and G-literal change the defaults to --lr 1e-4, --curriculum false and "
        "a --patch of 192 HR pixels",
    )
    vgg_weights: str = _option("", f"torchvision's VGG19 weights, {FILE_NAME}, for the VGG loss")
    perceptual_layers: tuple[str, ...] = _option(
        ("conv5_4",), "convolutions of VGG19 that the VGG loss compares, before their ReLU, conv1_1 to conv5_4", "LAYER"
    )
    perceptual_norm: Literal["l2", "l1"] = _option(
        "l2", "norm of the VGG loss: l2, squared as in eq. 13, or l1, the default of stage G"
    )
    discriminator_lr: float = _option(1e-4, "peak learning rate of the discriminator; it follows the same schedule")

    @property
    def run_folder(self) -> str:
        """``out``, or a folder named by the network."""
        return self.out or f"runs/{self.variant}-x{self.scale}"

    @property
    def degradation(self) -> Degradation:
        """Degradation that makes LR from HR. Raises UserError naming a value out of its limits."""
        jpeg = None if self.jpeg in ((), (0,)) else self.jpeg
        return Degradation(self.blur, self.noise, jpeg, self.poisson, self.anisotropic, self.resize, self.second_order)

    @property
    def is_adversarial(self) -> bool:
        """Whether a discriminator is trained together with the network."""
        return STAGES[self.stage].adversarial > 0

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's betas in this stage."""
        return (0.9, 0.99) if self.is_adversarial else (0.9, 0.999)

    @property
    def network_options(self) -> dict[str, Any]:
        """Arguments of the network's class beyond its sizes."""
        kernels = {"kernels": tuple(self.kernels)} if self.kernels else {}
        if not self.variant.startswith("improved"):
            return kernels
        return kernels | {"lrfu": self.lrfu, "gap": self.gap, "block": self.block or None, "halo": self.halo}

    def check(self) -> None:
        """Raise UserError naming the first field with a value that cannot be used."""
        rules = {
            "variant": (self.variant in VARIANTS, f"one of {', '.join(VARIANTS)}"),
            "scale": (self.scale in SCALES, f"one of {', '.join(map(str, SCALES))}"),
            "data": (bool(self.data) and all(self.data), "at least one folder, each with a name"),
            "valid": (all(self.valid), "folders, each with a name"),
            "kernels": (all(k >= 1 and k % 2 for k in self.kernels), "odd numbers from 1 on"),
            "ema": (0 <= self.ema < 1, "at least 0 and below 1"),
            "fass_fraction": (0 <= self.fass_fraction <= 1, "from 0 to 1"),
            "jpeg": (self.jpeg in ((), (0,)) or all(1 <= q <= 95 for q in self.jpeg), "0 (none) or from 1 to 95"),
            "lr": (self.lr > 0, "above 0"),
            "plateau": (0 <= self.plateau < 1, "at least 0 and below 1"),
            "workers": (self.workers >= -1, "-1 (automatic) or more"),
            "discriminator_lr": (self.discriminator_lr > 0, "above 0"),
        }
        for name in ("iterations", "checkpoint_every", "log_every", "patch", "batch", "cycles"):
            rules[name] = (getattr(self, name) >= 1, "at least 1")
        for name in ("validate_every", "lr_min", "clip", "block", "halo", "seed", "profile"):
            rules[name] = (getattr(self, name) >= 0, "at least 0")
        rules |= self._stage_rules()
        for name, (good, allowed) in rules.items():
            if not good:
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)!r}: must be {allowed}")
        check_layers(self.perceptual_layers)
        _ = self.degradation

    def _stage_rules(self) -> dict[str, tuple[bool, str]]:
        if not self.is_adversarial:
            return {"vgg_weights": (not self.vgg_weights, "left out in stage P, which has no VGG loss; add --stage G")}
        side = PATCH // self.scale if self.scale in SCALES else self.patch
        judged = f"the discriminator of stage {self.stage} judges HR patches of {PATCH} pixels"
        return {
            "curriculum": (not self.curriculum, f"false: {judged}"),
            "patch": (self.patch == side, f"{side} at x{self.scale}: {judged}"),
            "init": (bool(self.init), f"the weights of a run in stage P: stage {self.stage} starts from them"),
            "vgg_weights": (bool(self.vgg_weights), f"a local file: {SOURCE}"),
        }


def stage_defaults(stage: str, scale: int) -> dict[str, Any]:
    """Default options of a stage, applied after the preset."""
    if stage == "P" or scale not in SCALES:
        return {}
    return {"lr": 1e-4, "curriculum": False, "patch": PATCH // scale, "perceptual_norm": STAGES[stage].norm}


PRESETS: dict[str, dict[str, Any]] = {
    # Takes a few minutes on two CPU cores, to try the whole pipeline.
    "quick": {
        "variant": "improved-s",
        "scale": 4,
        "iterations": 1000,
        "checkpoint_every": 250,
        "curriculum": False,
        "patch": 32,
        "batch": 8,
        "ema": 0.99,
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

CHANGEABLE_ON_RESUME = (
    *("resume", "rewind", "out", "iterations", "checkpoint_every", "log_every", "data", "valid"),
    *("device", "workers", "profile", "tensorboard", "vgg_weights"),
    *("checkpoint_activations", "memory_limit"),
)
"""Fields that a resumed run may change; the others decide what the run computes. Images may have moved: what is in
them is compared."""


def difference(before: Config, now: Config) -> list[str]:
    """Fields in which two configurations differ, other than those a resumed run may change."""
    names = [f.name for f in dataclasses.fields(Config) if f.name not in CHANGEABLE_ON_RESUME]
    return [name for name in names if getattr(before, name) != getattr(now, name)]
