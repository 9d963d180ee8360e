"""Division of the images among processes, which do not communicate before the end."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import timedelta

import torch

from awsrn_fast.devices import pick_device
from awsrn_fast.errors import UserError
from awsrn_fast.launcher import place


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th image, from the ``number``-th on; numbers begin at 1."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def part(self) -> slice:
        """This shard's part of the list of all images, which every process builds in the same order."""
        return slice(self.number - 1, None, self.count)


def pick_shard(text: str | None) -> Shard:
    """``i/n`` with 1 <= i <= n; None: by torchrun's rank, or all.

    Raises:
        UserError: another form, or both torchrun and ``text``.
    """
    if text is None:
        return Shard(place().rank + 1, place().size) if _by_torchrun() else Shard()
    if _by_torchrun():
        raise UserError("--shard is for other schedulers: torchrun's processes share the images by themselves")
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard {text}: give i/n with i from 1 to n, such as 1/4, 2/4, 3/4 and 4/4")
    return Shard(int(found[1]), int(found[2]))


def pick_own_device(name: str) -> torch.device:
    """The device as by ``pick_device``; for ``auto`` under torchrun each process of a machine uses its own GPU."""
    local = place().local if name == "auto" and _by_torchrun() else None
    if local is not None and torch.cuda.is_available():
        name = f"cuda:{local % torch.cuda.device_count()}"
    return pick_device(name)


def together(status: int) -> int:
    """Wait for torchrun's other processes; returns the worst exit status of all.

    torchrun ends the others as soon as one ends with an error, so a process that has only failures to report must not
    end first.
    """
    if not _by_torchrun():
        return status
    rank, count = place().rank, place().size
    store, _, _ = next(torch.distributed.rendezvous("env://", timeout=timedelta(minutes=5)))
    store.set(f"awsrn_fast/upscale/{rank}", str(status))
    keys = [f"awsrn_fast/upscale/{other}" for other in range(count)]
    # Not store.wait, which signals do not interrupt.
    while not store.check(keys):
        time.sleep(0.1)
    return max(int(store.get(key)) for key in keys)


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and place().size > 1
