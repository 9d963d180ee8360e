"""Atomic writing of files: a kill, a full disk or a bug never leaves a partial one."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from .errors import RunError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HOST = sha256(socket.gethostname().encode()).hexdigest()[:4]
_UNFINISHED = re.compile(r"\.([0-9a-f]{4})[0-9a-f]{8}\.part(\..+)?")
_A_DAY = 24 * 3600
_tidied: set[Path] = set()
"""Folders already searched for leftovers by this process."""


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; on success it is synced and renamed to ``path``.

    On any failure the unfinished file is removed and whatever ``path`` held before stays. The name keeps
    its suffix, since image libraries choose the format by it. Where ``path`` is a symbolic link, the file that it
    points to is replaced and the link stays; a file that was there keeps its permissions.

    Raises:
        RunError: the folder cannot be written or the disk is full; names the path and the reason.
    """
    path = Path(path)
    target = Path(os.path.realpath(path)) if os.path.islink(path) else path
    beside = target.with_name(f".{_HOST}{secrets.token_hex(4)}.part{path.suffix}")
    lock = None
    try:
        if os.path.islink(target):  # a cyclic link
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        path.parent.mkdir(parents=True, exist_ok=True)
        if target.parent not in _tidied:
            _tidied.add(target.parent)
            remove_leftovers(target.parent)
        lock = _begin(beside)
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # not there yet, or no permissions on this kind of disk
            shutil.copymode(target, beside)
        os.replace(beside, target)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it would mask the error above
            beside.unlink()
        if lock is not None:
            os.close(lock)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed.

    A process holds a lock on the file it writes, which the kernel releases when the process ends. Files of other
    machines, whose locks a network disk may not show, and those on disks without locks are removed after a day.
    """
    for file in folder.glob(".*.part*"):
        found = _UNFINISHED.fullmatch(file.name)
        with suppress(OSError):  # it has just been renamed, or belongs to another user
            aged = time.time() - file.stat().st_mtime > _A_DAY
            if found and (aged or (found[1] == _HOST and _is_left(file))):
                file.unlink()


def _begin(beside: Path) -> int | None:
    """Create the unfinished file, locked; returns the lock's descriptor, None on Windows."""
    while fcntl is not None:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # a disk without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):  # another process removed it as a leftover before it was locked
            if os.path.samestat(os.fstat(descriptor), os.stat(beside)):
                return descriptor
        os.close(descriptor)
    return None


def _is_left(file: Path) -> bool:
    """Whether no process holds the lock; False where there are no locks."""
    if fcntl is None:
        return False
    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replace the contents of ``path`` by ``text`` (UTF-8) atomically."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
