"""Remarks that a command prints once at the start, about unexpected conditions."""

from __future__ import annotations

import torch

from . import native
from .bundled import licence_remark
from .cli import console
from .commands import spelled
from .launcher import speaks

SLOWER = 2
"""Approximate slow-down in plain PyTorch. Measured at x4 with AVX2 (Zen 3) and one thread: improved-s 1.6 (upscaling)
and 1.8 (training), awsrn-s 2.3 and 1.8."""

_said: set[str] = set()
"""Reasons that this process has given: ablate and others train several times."""


def say_if_slow(device: torch.device) -> None:
    """Print a remark if CPU kernels would run but are missing: pip hides the build's messages."""
    if device.type == "cpu" and native.cpu is None and speaks() and native.cpu_reason not in _said:
        _said.add(native.cpu_reason)
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
