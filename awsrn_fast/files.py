"""Writing files so that a kill, a full disk or a bug never leaves half of one."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RunError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it is synced and renamed onto ``path``.

    On any failure the unfinished file is removed and whatever ``path`` held before stays. The name keeps
    its suffix, since image libraries choose the format by it. Where ``path`` is a symbolic link, the file that it
    points to is replaced and the link stays; a file that was there keeps its permissions.

    Raises:
        RunError: the folder cannot be written or the disk is full; names the path and the reason.
    """
    path = Path(path)
    target = Path(os.path.realpath(path)) if os.path.islink(path) else path
    beside = target.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")
    try:
        if os.path.islink(target):  # one that leads back to itself
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # not there yet, or no permissions on this kind of disk
            shutil.copymode(target, beside)
        os.replace(beside, target)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it would hide the reason above
            beside.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replace the contents of ``path`` by ``text`` (UTF-8), whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
