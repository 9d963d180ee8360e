"""Remarks that a command prints once at the start, about unexpected conditions."""

from __future__ import annotations

import torch

from . import native
from .bundled import licence_remark
from .cli import console
from .commands import spelled
from .launcher import speaks

SLOWER = 2
"""Approximate slow-down of improved-s in plain PyTorch, see docs/results."""


def say_if_slow(device: torch.device) -> None:
    """Print a remark if CPU kernels would run but are missing: pip hides the build's messages."""
    if device.type == "cpu" and native.cpu is None and speaks():
        console.print(
            f"no native library ({native.cpu_reason}): about {SLOWER} times slower; see {spelled('info')}",
            style="yellow",
        )


def say_licences(*names: str) -> None:
    """Print the licences of weights that the user has not chosen by name, each once."""
    said = {remark.partition(" was ")[2]: remark for name in reversed(names) if (remark := licence_remark(name))}
    for remark in reversed(said.values()):
        if speaks():
            console.print(remark)
