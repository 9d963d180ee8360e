"""Terminal output of the commands: text is printed literally, and output errors do not stop processing."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console
from rich.text import Text

UNWRAPPED = 240
"""Table width for files and pipes, so that no cell is wrapped."""


class DataConsole(Console):
    """A rich console for untrusted text: file names, metadata and errors.

    A string is printed as it is, in one line: square brackets are no markup, control characters and escape sequences
    are written out (``\\x1b``). Colour comes from ``style=`` and :class:`rich.text.Text` alone. On
    standard error, if the terminal is closed or the log's disk full, output is lost and processing continues; on
    standard output, which is data, it is an error.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        # No wrapping in logs; a terminal would break lines in the middle of a word.
        self.soft_wrap = not self.is_terminal
        if not self.is_terminal and not self.stderr:
            self.width = UNWRAPPED

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    @property
    def file(self) -> IO[str]:
        return cast("IO[str]", _Lasting(super().file)) if self.stderr else super().file

    @file.setter
    def file(self, new: IO[str]) -> None:
        self._file = new


class _Lasting:
    """Stream that ignores write errors: a closed terminal, a reader that has ended, a full disk."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: closed by Python
            return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def printable(text: str) -> str:
    """``text`` escaped to one line: file names may contain line breaks, terminal codes and undecodable bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def open_standard_streams() -> None:
    """Open the null device for standard input, output or error if closed, as for some services.

    Otherwise the next opened file would get its descriptor, and a library's output would end up in that file. Python's
    own ``sys.stdin`` and so on stay None.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor: this one


def settle_standard_streams() -> OSError | None:
    """Flush the buffers, so that Python's flush at exit cannot change the exit status.

    Returns:
        Why writing to standard output failed, if it did; messages on standard error may be lost.
    """
    failure = None
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            failure = error if number == 1 else failure
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
    return failure
