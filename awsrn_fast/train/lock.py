"""A lock that admits one run per folder and is released when its process dies, on local and network disks.

Mechanisms: on a disk with POSIX locks (local ones, NFS with its lock service, Lustre, SMB) the kernel's lock on
``run.lock`` decides, and it is released with the process. Some network disks keep such locks per machine, or have none.
So ``run.owner`` names the holder, which increments a heartbeat counter there: another machine watches for some seconds
whether it changes, which needs no synchronised clocks. Without kernel locks, of two runs that start at the same moment
the one whose name is in the file a little later wins. A holder that finds another name there stops before it writes
anything more.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from awsrn_fast.errors import RunError, UserError
from awsrn_fast.files import remove_leftovers

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for before it is used

LOCK, OWNER = "run.lock", "run.owner"
BEAT = 2.0
"""Seconds between two heartbeats."""
WATCH = 4 * BEAT
"""Seconds within which a live holder's heartbeat is visible, even on a disk with stale caches."""
_held: set[tuple[int, int]] = set()
"""Lock files of this process, which POSIX locks do not keep apart."""


class RunLock:
    """Lock as a context around everything that writes into a run's folder.

    Args:
        folder: the run's folder; created if missing.

    Raises:
        UserError: another process has a run in this folder; says which.
        RunError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._owner = folder, folder / OWNER
        self._me = {"host": socket.gethostname(), "process": os.getpid(), "token": secrets.token_hex(8)}
        self._ended = threading.Event()
        self._lost: dict[str, Any] = {}

    def __enter__(self) -> RunLock:
        try:
            self._made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._descriptor, by_kernel = self._open()
            try:
                self._take(by_kernel)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise RunError(f"cannot write into {self.folder}: {error.strerror or error}") from error
        _held.add(_identity(self._descriptor))
        # Leftovers of an earlier killed run; nobody else writes here now.
        for place in (self.folder, self.folder / "samples"):
            remove_leftovers(place)
        self._beat = threading.Thread(target=self._count, daemon=True)
        self._beat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._ended.set()
        self._beat.join()
        with suppress(OSError):
            if not self._lost:
                self._owner.unlink()
                (self.folder / LOCK).unlink()
                if self._made:
                    self.folder.rmdir()  # of a run that wrote nothing: it is empty
        _held.discard(_identity(self._descriptor))
        os.close(self._descriptor)

    def check(self) -> None:
        """Raise RunError if another run has taken the folder, as a disk without real locks lets it."""
        if self._lost:
            raise RunError(f"{_who(self._lost)} has taken {self.folder}: this run stops and writes nothing more")

    def _open(self) -> tuple[int, bool]:
        """The locked file's descriptor, and whether the kernel gave the lock."""
        path = self.folder / LOCK
        while True:
            if path.exists() and _identity(path) in _held:  # not opened: closing it would let go of the lock
                raise self._refusal()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            by_kernel = fcntl is not None
            try:
                if fcntl is not None:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    os.close(descriptor)
                    raise self._refusal() from error
                by_kernel = False
            with suppress(FileNotFoundError):
                if _identity(descriptor) == _identity(path):
                    return descriptor, by_kernel
            os.close(descriptor)  # its holder has ended and removed it in the meantime

    def _take(self, by_kernel: bool) -> None:
        before = self._read()
        # The kernel's lock rules out a live holder on this machine.
        if before and not (by_kernel and before["host"] == self._me["host"]) and self._lives(before):
            raise self._refusal()
        self._write(0)
        if not by_kernel:
            time.sleep(BEAT)
            if self._read().get("token") != self._me["token"]:
                raise self._refusal()

    def _lives(self, before: dict[str, Any]) -> bool:
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            time.sleep(BEAT / 4)
            if self._read() not in (before, {}):
                return True
        return False

    def _count(self) -> None:
        beats = 0
        while not self._ended.wait(BEAT):
            with suppress(OSError):  # a network disk that is temporarily unavailable
                now = self._read()
                if now and now["token"] != self._me["token"]:
                    self._lost = now
                    return
                beats += 1
                self._write(beats)

    def _write(self, beats: int) -> None:
        self._owner.write_text(json.dumps(self._me | {"beats": beats}), encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        """The holder's entry, freshly read from disk; empty if there is none."""
        try:
            found = json.loads(self._owner.read_text(encoding="utf-8"))
            return found if found.keys() >= {"host", "process", "token"} else {}
        except (OSError, ValueError, AttributeError):
            return {}

    def _refusal(self) -> UserError:
        who = _who(self._read())
        return UserError(f"{who} has a run in {self.folder}: wait for its end, stop it, or choose another --out")


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder['process']} on {holder['host']}" if holder else "another process"


def _identity(file: Path | int) -> tuple[int, int]:
    status = os.stat(file)
    return status.st_dev, status.st_ino
