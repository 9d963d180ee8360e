"""Shared code of the commands ``python -m awsrn_fast.NAME``: exit statuses, signals, one-line errors.

Exit status: 0 all done, 1 some of the work failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from rich.text import Text

from .errors import RunError, UserError, is_out_of_memory
from .heap import keep_freed_memory
from .launcher import speaks
from .terminal import DataConsole, open_standard_streams, printable, settle_standard_streams

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

console = DataConsole(stderr=True)
"""Console for progress and remarks. Standard error, so that standard output stays free for results."""

results = DataConsole()
"""Console for results: tables and figures. Standard output."""

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Signals that ask a process to end: Ctrl-C, kill and schedulers, a terminal that is closed."""


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's ``main`` and end the process with its status; known failures print one line."""
    open_standard_streams()
    handle_ending(_interrupt)  # until exit: a repeated signal must not change the exit status
    keep_freed_memory()
    try:
        status = main() or 0
    except UserError as error:
        status = error.status
        # Under torchrun every process finds the same mistake in the same command line: report it once.
        if status == RunError.status or speaks():
            complain(str(error))
    except KeyboardInterrupt:
        status = 130
        complain("interrupted")
    except OSError as error:
        status = 1
        complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        status = 1
        complain(f"out of memory ({_first_line(error)}): take a smaller tile, patch, batch or image")
    failure = settle_standard_streams()
    if failure is not None and not status:
        status = 1
        complain(f"cannot write to standard output: {failure.strerror}")
    sys.exit(status)


def passing_bar(*columns: ProgressColumn, visible: bool = True) -> Progress:
    """A progress bar that vanishes when it is done. In a log there is none: it would leave an empty line."""
    from rich.progress import Progress  # most commands end before they draw one

    return Progress(*columns, console=console, transient=True, disable=not (visible and console.is_terminal))


def handle_ending(handler: Callable) -> dict[int, Any]:
    """Install ``handler`` for each signal of :data:`ENDING`; returns the previous handlers.

    An ignored SIGHUP, as under nohup, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    if before.get(getattr(signal, "SIGHUP", None)) == signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, handler)
    return before


def complain(message: str) -> None:
    """Print what went wrong, one line on standard error."""
    console.print(labelled("error", message, "bold red"))


def labelled(label: str, message: str, style: str) -> Text:
    """A line with a coloured label."""
    return Text.assemble((f"{label}:", style), " ", printable(message))


def _interrupt(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt, so that unfinished output is cleaned up, undisturbed by further signals.

    A closed terminal, a scheduler and torchrun repeat their signals; only a second Ctrl-C forces the end.
    """
    for other in ENDING:
        if other != signal.SIGINT and signal.getsignal(other) == _interrupt:
            signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
