"""The command ``python -m awsrn_fast.train``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from awsrn_fast.arguments import wrong_usage
from awsrn_fast.checkpoint import load
from awsrn_fast.cli import console
from awsrn_fast.commands import spelled
from awsrn_fast.config import PRESETS, SAMPLE, Config, difference, stage_defaults
from awsrn_fast.data import Photos
from awsrn_fast.devices import dtype_name, pick_device, pick_dtype
from awsrn_fast.errors import UserError
from awsrn_fast.files import write_text
from awsrn_fast.launcher import place
from awsrn_fast.models import SuperResolution, create
from awsrn_fast.nn import in_channels_last
from awsrn_fast.remarks import say_if_slow

from .adversarial_step import AdversarialStep, large_enough
from .config_file import read_options, with_contents
from .discriminator_state import DiscriminatorState
from .distributed import World, joined, local_device
from .loader import changed_images, open_images
from .lock import RunLock
from .memory_limit import Budget
from .options import early_parser, parser
from .schedule import phases
from .state import NAME, PREVIOUS, Learner, has_state, read_state
from .step import Step
from .trainer import Trainer
from .validation import Validator


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; see ``--help``. Returns 0, or 130 after an interruption."""
    arguments = sys.argv[1:] if argv is None else argv
    config = read_config(arguments)
    folder = Path(config.run_folder)
    if has_state(folder) and not config.resume:
        raise UserError(f"{folder} holds a run already: add --resume to go on with it, or choose another --out")
    # Only the first of several processes writes; the others wait for it before their first step.
    with RunLock(folder) if place().is_first else contextlib.nullcontext() as lock:
        return _train(config, folder, lock)


def _train(config: Config, folder: Path, lock: RunLock | None) -> int:
    if has_state(folder) and not config.resume:  # another run has written a checkpoint in the meantime
        raise UserError(f"{folder} holds a run already: add --resume to go on with it, or choose another --out")
    device = pick_device(local_device(config.device))
    dtype = pick_dtype(config.dtype, device)
    say_if_slow(device)
    learner = Learner(_network(config).to(device), config.ema, dtype == torch.float16, config.betas)
    if config.is_adversarial:
        learner.discriminator_state = DiscriminatorState(config, device)
    learner.model.checkpointing = config.checkpoint_activations
    if config.channels_last:
        in_channels_last(learner.model)
    with joined(device) as world:
        for phase in phases(config):
            world.share(phase.batch)
        budget = Budget(config, device, dtype, world, learner.discriminator_state) if config.memory_limit else None
        if budget is not None:
            budget.check_steps()
        if config.resume:
            _resume(learner, folder, config.rewind, world)
        photos, validation = open_images(config, world)
        if learner.discriminator_state is not None:
            photos = _for_discriminator(photos, config, learner.discriminator_state, world)
        if budget is not None:
            budget.check_validation(validation)
        validator = Validator(validation, config.scale, device)
        images = {"training": photos.fingerprint, "validation": validation.fingerprint}
        if world.is_first:
            for line in (*validator.remarks, *changed_images(learner.images, images)):
                console.print(line, style="yellow")
            console.print(
                f"{config.variant} x{config.scale}: {learner.model.facts.parameters:,} parameters, {len(photos)} "
                f"training and {len(validation)} validation images, {world.size} x {device.type}, "
                f"{str(dtype).removeprefix('torch.')}, into {folder}"
            )
            write_text(folder / "config.yaml", _as_yaml(config))
        learner.images = images
        step = (AdversarialStep if config.is_adversarial else Step)(config, learner, dtype, world)
        trainer = Trainer(config, learner, step, photos, validator, folder, world, lock)
        if world.is_first and learner.iteration >= config.iterations:
            console.print(f"the run is finished, at iteration {learner.iteration}: more --iterations extend it")
        before = learner.iteration
        finished = trainer.run()
        if world.is_first:
            _conclude(trainer, folder, finished, learner.iteration - before)
    return 0 if finished else 130


def read_config(arguments: list[str]) -> Config:
    """The configuration of a command line: class defaults, preset, the stage's, ``--config`` file, options, in rising
    order.

    With ``--resume`` the run's own config.yaml replaces preset and defaults.

    Raises:
        UserError: an option that is out of range, or one that a resumed run cannot change.
    """
    arguments = with_contents(arguments)
    known, _ = early_parser().parse_known_args(arguments)
    fresh = parser()
    if known.preset in PRESETS:
        fresh.set_defaults(PRESETS[known.preset])
    named = _parsed(fresh, arguments)
    if not known.resume:
        fresh.set_defaults(stage_defaults(named.stage, named.scale))
        return _from_anywhere(_checked(fresh, arguments))
    path = Path(named.run_folder, "config.yaml")
    if not path.is_file():
        raise UserError(f"no run to resume in {named.run_folder}: there is no {path}; name it by --out")
    try:
        before = Config(**{k: _frozen(v) for k, v in read_options(path).items()})
    except TypeError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    resumed = parser()
    resumed.set_defaults(yaml.safe_load(_as_yaml(before)))
    config = _from_anywhere(_checked(resumed, arguments))
    changed = difference(before, config)
    if changed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise UserError(f"{path.parent} was started with another {options}: a resumed run keeps its own; leave it out")
    for option, folders in (("--data", config.data), ("--valid", config.valid)):
        gone = [folder for folder in folders if folder != SAMPLE and not os.path.exists(folder)]
        if gone:
            raise UserError(f"the run's images are no longer in {gone[0]}: name their new place by {option}")
    if config.iterations != before.iterations:
        console.print("other --iterations than before: learning rate and phases follow the new number", style="yellow")
    return config


def _from_anywhere(config: Config) -> Config:
    """The configuration with absolute paths, so that the run can be resumed from another working directory."""

    def absolute(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name == SAMPLE and not os.path.exists(name) else os.path.abspath(name) for name in names)

    files = {name: getattr(config, name) for name in ("init", "vgg_weights")}
    files = {name: os.path.abspath(value) for name, value in files.items() if os.path.isfile(value)}
    return dataclasses.replace(config, data=absolute(config.data), valid=absolute(config.valid), **files)


def _checked(options: ArgumentParser, arguments: list[str]) -> Config:
    config = _parsed(options, arguments)
    config.check()
    return config


def _parsed(options: ArgumentParser, arguments: list[str]) -> Config:
    try:
        values = options.parse_args(arguments).as_dict()
    except argparse.ArgumentError as error:
        reason = re.sub(r'Parser key "(\w+)": ', r"--\1: ", " ".join(str(error).split()))
        reason = re.sub(r"<class '(\w+)'>", r"\1", reason)
        raise UserError(wrong_usage(reason, spelled("train"))) from error
    values["dtype"] = dtype_name(values["dtype"])
    return Config(**{field.name: _frozen(values[field.name]) for field in dataclasses.fields(Config)})


def _as_yaml(config: Config) -> str:
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    return yaml.safe_dump(values | {"resume": False, "rewind": False}, sort_keys=False)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _network(config: Config) -> SuperResolution:
    torch.manual_seed(config.seed)
    model = create(config.variant, config.scale, **config.network_options)
    if config.init and not config.resume:
        start = load(config.init)
        same = start.network == model.network and start.hyper | {"scale": config.scale} == model.hyper
        if not same or (config.is_adversarial and start.scale != config.scale):
            what = f"{start.facts.variant} x{start.scale}"
            kernels = tuple(start.hyper["kernels"])
            if kernels != model.tail.kernels:
                what += f" with branches of other sizes, which --kernels {' '.join(map(str, kernels))} asks for"
            raise UserError(f"--init {config.init} is {what}: not the network to train")
        if start.scale == config.scale:
            model.load_state_dict(start.state_dict())
        else:
            _take_body(model, start)
    return model.train()


def _take_body(model: SuperResolution, start: SuperResolution) -> None:
    """Load weights of a network of another scale; skip and reconstruction, whose shapes depend on it, start fresh."""
    shared = {k: v for k, v in start.state_dict().items() if not k.startswith(("skip.", "tail."))}
    missing, unexpected = model.load_state_dict(shared, strict=False)
    assert not unexpected and all(name.startswith(("skip.", "tail.")) for name in missing)


def _resume(learner: Learner, folder: Path, rewind: bool, world: World) -> None:
    """Load the run's state, or with ``rewind`` the previous one; report what has changed since."""
    path, previous = folder / NAME, folder / PREVIOUS
    if rewind or not path.exists():  # a kill between the two renames of a save leaves only the previous one
        path = previous
    try:
        content = read_state(path)
    except UserError as error:
        if path == previous or not previous.exists():
            raise
        good = read_state(previous)["iteration"]
        raise UserError(f"{error}. The state before it, of iteration {good}, is good: add --rewind") from error
    differences = learner.restore(content)
    if learner.discriminator_state is not None:
        learner.discriminator_state.check_resumed()
    if not world.is_first:
        return
    for line in differences:
        console.print(f"not the machine that wrote the state, results may differ in bits: {line}", style="yellow")
    console.print(f"going on from iteration {learner.iteration} of {path}")


def _for_discriminator(photos: Photos, config: Config, discriminator_state: DiscriminatorState, world: World) -> Photos:
    """The photos large enough for the discriminator; reports which losses are minimised and what is left out."""
    photos, remark = large_enough(photos, config.patch)
    if world.is_first:
        for line in (*discriminator_state.describe(), *([remark] if remark else [])):
            console.print(line)
    return photos


def _conclude(trainer: Trainer, folder: Path, finished: bool, steps: int) -> None:
    learner, bicubic = trainer.learner, trainer.validator.bicubic
    if learner.skipped or learner.overflows:
        console.print(
            f"{learner.skipped} steps were skipped for a loss or gradient that was not finite, "
            f"{learner.overflows} by the gradient scaler",
            style="yellow",
        )
    if steps:
        console.print(f"{100 * trainer.waited:.1f} % of the time was spent waiting for data")
    if not finished:
        console.print(f"stopped at iteration {learner.iteration}, saved; go on with: --out {folder} --resume")
        return
    verdict = "above" if learner.best > bicubic else "below"
    console.print(
        f"best validation PSNR {learner.best:.2f} dB, {abs(learner.best - bicubic):.2f} dB {verdict} bicubic "
        f"({bicubic:.2f} dB); weights: {folder / 'best.safetensors'}, pictures: {folder / 'samples'}"
    )
    if trainer.config.is_adversarial:
        console.print(
            f"stage {trainer.config.stage} trains for perceptual quality, which PSNR does not measure: its result is "
            f"{folder / 'last.safetensors'}"
        )
