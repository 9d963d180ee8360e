"""Errors that the user can fix: one line that names what, where and what to do."""

from __future__ import annotations


class UserError(Exception):
    """Wrong usage or bad input. The commands print it as one line and end with ``status``."""

    status = 2


class RunError(UserError):
    """The request was valid, but processing (or a part of it) failed."""

    status = 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, the GPU or the CPU allocator of torch ran out of memory."""
    import torch

    # CPU torch raises a plain RuntimeError from its allocator.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
