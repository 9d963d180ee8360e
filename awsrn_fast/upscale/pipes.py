"""Standard input and output (``-``), through a temporary file, since image formats need seeking."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from awsrn_fast import images
from awsrn_fast.errors import RunError, UserError

from .plan import SUFFIXES

PIPE = "-"
PREFIX = "awsrn_fast-"
"""Prefix of the temporary folders' names."""


def plain(text: str) -> str:
    """``text`` with "standard input" and "standard output" for the temporary files that stand for them."""
    folder = re.escape(os.path.join(tempfile.gettempdir(), PREFIX))
    return re.sub(rf"{folder}[^/\\]+[/\\](standard (?:input|output))(\.\w+)?", r"\1", text)


@contextmanager
def piped(inputs: Sequence[str], out: str | None, format: str | None) -> Iterator[tuple[Sequence[str], str | None]]:
    """Context that yields ``inputs`` and ``out`` with temporary files in place of ``-``; ``out`` defaults to
    standard output for standard input.

    At the end of the block the result, if any, is written to standard output: all of it or, after an error, nothing.
    Its format is ``format``, or that of the input.

    Raises:
        UserError: ``-`` together with other inputs, a closed stream, or a terminal as the output.
        RunError: writing to standard output failed.
    """
    if PIPE in inputs and len(inputs) > 1:
        raise UserError("- is standard input, which holds one image: give no other input beside it")
    if out is None and PIPE in inputs:
        out = PIPE
    if out == PIPE and (len(inputs) > 1 or Path(inputs[0]).is_dir()):
        raise UserError("-o - is standard output, which takes one image: give a folder for several")
    for name, stream, used in (("input", sys.stdin, PIPE in inputs), ("output", sys.stdout, out == PIPE)):
        if used and stream is None:
            raise UserError(f"- is standard {name}, which is closed: give the name of a file")
    if out == PIPE and sys.stdout.isatty():
        raise UserError("-o - would write an image to the terminal: send it to a file or another program")
    if PIPE not in (*inputs, out):
        yield inputs, out
        return
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        if PIPE in inputs:
            source = Path(folder) / "standard input"
            with open(source, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            # Named with the suffix of its contents; an unreadable image is reported later.
            inputs = [str(source.rename(source.with_suffix(_suffix(source))))]
        if out != PIPE:
            yield inputs, out
            return
        result = Path(folder) / f"standard output{SUFFIXES[format] if format else _suffix(Path(inputs[0]))}"
        yield inputs, str(result)
        if result.exists():
            _send(result)


def _suffix(path: Path) -> str:
    try:
        format = images.format_inside(path)
    except RunError:
        return ".png"
    return next(suffix for suffix, name in images.FORMATS.items() if name == format)


def _send(result: Path) -> None:
    # Not through sys.stdout's buffer, which Python would try to flush again at exit.
    try:
        with open(result, "rb") as file, open(sys.stdout.fileno(), "wb", closefd=False) as out:
            shutil.copyfileobj(file, out)
    except OSError as error:
        raise RunError(f"cannot write to standard output: {error.strerror}") from error
