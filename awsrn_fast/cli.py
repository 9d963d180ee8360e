"""What the commands ``python -m awsrn_fast.NAME`` share: exit statuses and errors as one line.

Exit status: 0 all done, 1 some of the work failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from .errors import RunError, UserError, is_out_of_memory
from .heap import keep_freed_memory

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress, tables and remarks. Standard error, so that standard output stays free for data."""


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's ``main`` and end the process with its status; known failures print one line."""
    # As Ctrl-C does, so that what is half done is put away on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_freed_memory()
    try:
        status = main() or 0
    except UserError as error:
        status = error.status
        # Started by torchrun, every process finds the same mistake in the same command line: say it once.
        if status == RunError.status or os.environ.get("RANK", "0") == "0":
            complain(str(error))
    except KeyboardInterrupt:
        status = 130
        complain("interrupted")
    except OSError as error:
        status = 1
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        status = 1
        complain(f"out of memory ({_first_line(error)}): take a smaller tile, patch, batch or image")
    sys.exit(status)


def complain(message: str) -> None:
    """Print what went wrong, one line on standard error."""
    console.print(f"[bold red]error:[/] {escape(printable(message))}")


def printable(text: str) -> str:
    """``text`` in one line: names of files may hold line breaks, terminal codes and bytes that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
