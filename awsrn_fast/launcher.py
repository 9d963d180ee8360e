"""Environment variables that torchrun, or another launcher, sets for each process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import UserError

_HOW = "start with torchrun, which sets them all, or unset WORLD_SIZE if it is left over from another job"


@dataclass(frozen=True)
class Place:
    """Place of a process among those of a distributed job.

    Attributes:
        rank: its number of ``size``.
        size: how many there are.
        local: its number on this machine; None: not set.
    """

    rank: int = 0
    size: int = 1
    local: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes messages."""
        return self.rank == 0


def place() -> Place:
    """This process's place. WORLD_SIZE alone decides: without it, or with 1, other variables are left over.

    Raises:
        UserError: variables that are missing, no numbers, or do not fit each other.
    """
    said = os.environ.get("WORLD_SIZE", "").strip()
    if said in ("", "1"):
        return Place()
    size = _number("WORLD_SIZE", said)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name, "").strip()]
    if missing:
        raise UserError(f"WORLD_SIZE={size} is set without {', '.join(missing)}: {_HOW}")
    rank = _number("RANK", os.environ["RANK"])
    if not 0 <= rank < size:
        raise UserError(f"RANK={rank} is not below WORLD_SIZE={size}: {_HOW}")
    if not 0 < _number("MASTER_PORT", os.environ["MASTER_PORT"]) < 65536:
        raise UserError(f"MASTER_PORT={os.environ['MASTER_PORT']} is not a port number: {_HOW}")
    local = os.environ.get("LOCAL_RANK", "").strip()
    return Place(rank, size, _number("LOCAL_RANK", local) if local else None)


def speaks() -> bool:
    """Whether this process reports an error that all processes of the job encounter.

    Under torchrun the first one does. A process with leftover variables is alone, and reports.
    """
    try:
        return place().is_first or "TORCHELASTIC_RUN_ID" not in os.environ
    except UserError:
        return True


def _number(name: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise UserError(f"{name}={text} is not a number: {_HOW}") from None
    if number < 0:
        raise UserError(f"{name}={text} is below 0: {_HOW}")
    return number
