"""The options of ``python -m awsrn_fast.train``: the configuration's fields, in groups."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from awsrn_fast.commands import spelled
from awsrn_fast.config import PRESETS, Config
from awsrn_fast.models import SCALES

GROUPS: dict[str, tuple[str, ...]] = {
    "the run": ("out", "resume", "rewind", "iterations", "init", "seed"),
    "network": ("variant", "scale", "lrfu", "gap", "kernels", "block", "halo"),
    "images": ("data", "valid"),
    "degradation": ("blur", "anisotropic", "resize", "noise", "poisson", "jpeg", "second_order"),
    "samples": ("curriculum", "patch", "batch", "fass", "fass_fraction"),
    "optimisation": ("lr", "lr_min", "sgdr", "cycles", "plateau", "ema", "clip"),
    "losses": ("stage", "vgg_weights", "perceptual_layers", "perceptual_norm", "discriminator_lr"),
    "machine": ("device", "dtype", "workers", "memory_limit", "checkpoint_activations", "channels_last", "compile"),
    "reports": ("checkpoint_every", "validate_every", "log_every", "tensorboard", "profile"),
}
"""Titles and fields of ``--help``'s groups; fields in none of them come first."""
VALUES = {int: "N", float: "X", str: "TEXT", bool: "{true,false}"}
"""Metavar of each type."""
NAMED = {
    "out": "DIR",
    "init": "WEIGHTS",
    "variant": "NAME",
    "scale": f"{{{','.join(map(str, SCALES))}}}",
    "vgg_weights": "FILE",
    "device": "NAME",
    "dtype": "NAME",
    "memory_limit": "SIZE",
}
"""Metavar of these fields."""


class _Help(DefaultHelpFormatter):
    """Formatter that shows each option's default as it would be typed."""

    def _expand_help(self, action: argparse.Action) -> str:
        default = action.default
        if default in (None, "", [], argparse.SUPPRESS) or action.nargs == 0:
            return action.help or ""
        shown = str(default).lower() if isinstance(default, bool) else default
        words = default if isinstance(default, list) else [shown]
        return f"{action.help} (default: {' '.join(map(str, words))})"


def parser() -> ArgumentParser:
    """The command's arguments; the fields of :class:`~awsrn_fast.config.Config` and where defaults come from."""
    prog = spelled("train")
    made = ArgumentParser(
        prog=prog,
        usage=f"{prog} [OPTIONS]",
        description="Train AWSRN or its improved form. Without options: improved-s x4 on the embedded photographs.",
        formatter_class=_Help,
        exit_on_error=False,
    )
    made.add_argument(
        "--config", action="config", metavar="FILE", help="YAML file with options; the command line comes after it"
    )
    made.add_argument("--preset", choices=PRESETS, help="defaults by name: quick ends in a few minutes on a CPU")
    fields = {field.name: field for field in dataclasses.fields(Config)}
    grouped = {name for names in GROUPS.values() for name in names}
    types = get_type_hints(Config)
    for title, names in {"": tuple(name for name in fields if name not in grouped), **GROUPS}.items():
        group = made.add_argument_group(title) if title else made
        for name in names:
            _add(group, fields[name], types[name])
    return made


def _add(group: Any, field: dataclasses.Field, kind: Any) -> None:
    option, text = "--" + field.name.replace("_", "-"), field.metadata["help"]
    if field.name in ("resume", "rewind"):
        group.add_argument(option, action="store_true", help=text)
    elif isinstance(field.default, tuple):
        of, metavar = get_args(kind)[0], field.metadata["metavar"]
        group.add_argument(option, nargs="+", type=of, default=list(field.default), metavar=metavar, help=text)
    else:
        shown = NAMED.get(field.name) or VALUES.get(kind) or f"{{{','.join(get_args(kind))}}}"
        group.add_argument(option, type=kind, default=field.default, metavar=shown, help=text)


def early_parser() -> argparse.ArgumentParser:
    """Parser of the two options that determine the defaults of all others."""
    made = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    made.add_argument("--preset")
    made.add_argument("--resume", action="store_true")
    return made
