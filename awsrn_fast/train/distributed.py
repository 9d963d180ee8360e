"""Distributed training: ``torchrun --nproc-per-node N -m awsrn_fast.train``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from awsrn_fast.cli import complain
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.launcher import Place, place

# Longer than any validation on the first process; a process that dies is noticed at once all the same: torchrun ends
# the others, and gloo sees the connection close.
TIMEOUT = timedelta(minutes=30)
# Timeout for all to join: with another job's leftover variables nobody should wait for half an hour.
GATHERING = timedelta(minutes=5)


@dataclass(frozen=True)
class World:
    """The processes of a run: ``rank`` is this one's number of ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """This process's share of a batch, equal for all.

        Raises:
            UserError: the batch cannot be divided evenly; gradients would differ from those of one process.
        """
        if batch % self.size:
            raise UserError(f"a batch of {batch} patches cannot be shared by {self.size} processes: choose a multiple")
        return batch // self.size

    def any(self, *flags: bool) -> list[bool]:
        """Whether any process has set each flag (all-reduce)."""
        if self.size == 1:
            return list(flags)
        votes = torch.tensor([float(flag) for flag in flags], dtype=torch.float32, device=_device())
        self._reduce(votes, dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over the processes."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        self._reduce(total, dist.ReduceOp.SUM)
        return total / self.size

    def _reduce(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
        with lost_peer():
            dist.all_reduce(tensor, operation)


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The world described by torchrun's environment variables; a single process without them."""
    here = place()
    if here.size == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _join(here, "nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(here.rank, here.size)
    finally:
        dist.destroy_process_group()


def _join(here: Place, backend: str) -> None:
    try:
        store, _, _ = next(dist.rendezvous("env://", here.rank, here.size, timeout=GATHERING))
        dist.init_process_group(backend, store=store, rank=here.rank, world_size=here.size, timeout=TIMEOUT)
    except (RuntimeError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"process {here.rank} of {here.size} cannot reach the other processes at {where} "
            f"({str(error).splitlines()[0]}): start with torchrun, or unset WORLD_SIZE if it is left over from another "
            "job"
        ) from error


def local_device(name: str) -> str:
    """The device of this process: with several on a machine, each takes a GPU of its own."""
    local = place().local
    automatic = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{local}" if local is not None and automatic else name


@contextlib.contextmanager
def lost_peer() -> Iterator[None]:
    """Context that ends this process with one line if communication fails because a peer died.

    Immediately, by os._exit: in an orderly shutdown gloo may wait for ever for pending operations, and torchrun's
    signal, which arrives at the same time, would replace the reason.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_communication(error):
            raise
        reason = str(error).splitlines()[0]
        complain(f"another process of this run has ended, so this one stops, too ({reason})")
        os._exit(RunError.status)


def _is_communication(error: RuntimeError) -> bool:
    names = ("gloo", "NCCL", "Connection", "peer")
    return isinstance(error, dist.DistError) or any(name in str(error) for name in names)


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
