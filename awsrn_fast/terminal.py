"""What the commands print: text is data, never markup or codes for the terminal, and no terminal ends the work."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, Any

from rich.console import Console
from rich.text import Text

UNWRAPPED = 240
"""Columns of a table that goes to a file or a program: no cell of ours is folded."""


class DataConsole(Console):
    """A rich console for names of files, metadata and errors, whoever wrote them.

    A string is printed as it is, in one line: square brackets are no markup, control characters and escape sequences
    are written out (``\\x1b``). Colour comes from ``style=`` and :class:`rich.text.Text` alone. On
    standard error, where the terminal is closed or the log's disk full, what is printed is lost, and the work goes on;
    standard output is data, and such an error is one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        # A log's lines are as long as they are; a terminal would break its own in the middle of a word.
        self.soft_wrap = not self.is_terminal
        if not self.is_terminal and not self.stderr:
            self.width = UNWRAPPED

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    @property
    def file(self) -> IO[str]:
        return _Lasting(super().file) if self.stderr else super().file

    @file.setter
    def file(self, new: IO[str]) -> None:
        self._file = new


class _Lasting:
    """A stream whose loss is no error: a terminal that was closed, a reader that has ended, a full disk."""

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
    """``text`` in one line: names of files may hold line breaks, terminal codes and bytes that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def open_standard_streams() -> None:
    """Put the null device where standard input, output or error is closed, as services start programs.

    The next file to be opened would take its number, and what a library prints would end up in that file. Python's
    own ``sys.stdin`` and so on stay None.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def settle_standard_streams() -> OSError | None:
    """Write what is left in the buffers, so that Python's own end cannot change the exit status.

    Returns:
        Why standard output does not take its data, if it does not; messages on standard error may be lost.
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
