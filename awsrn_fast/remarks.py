"""What a command says once before it works, where its user would not expect it."""

from __future__ import annotations

import torch

from . import native
from .bundled import licence_remark
from .cli import console
from .commands import spelled
from .launcher import speaks

SLOWER = 2
"""How many times slower plain PyTorch runs improved-s, about: see docs/results."""


def say_if_slow(device: torch.device) -> None:
    """Say that the kernels for the CPU are missing, where they would run: pip does not show what the build says."""
    if device.type == "cpu" and native.cpu is None and speaks():
        console.print(
            f"no native library ({native.cpu_reason}): about {SLOWER} times slower; see {spelled('info')}",
            style="yellow",
        )


def say_licences(*names: str) -> None:
    """Say what the licences of weights are that the user has not chosen by name; each licence once."""
    said = {remark.partition(" was ")[2]: remark for name in reversed(names) if (remark := licence_remark(name))}
    for remark in reversed(said.values()):
        if speaks():
            console.print(remark)
