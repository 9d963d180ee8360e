"""What damaged files may do: be read, or be refused with a UserError, in 20 s and 2 GB."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from awsrn_fast.errors import UserError

SECONDS, MOST_BYTES = 20, 2 * 2**30


def watched(cases: Iterable[tuple[str, Callable[[], object]]]) -> int:
    """Call each case; print those that do something else; the number of them."""
    faults = 0
    signal.signal(signal.SIGALRM, _late)
    for name, call in cases:
        signal.alarm(SECONDS)
        try:
            call()
        except UserError as error:
            fault = "" if "\n" not in str(error) else "more than one line"
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        else:
            fault = ""
        finally:
            signal.alarm(0)
        if fault:
            faults += 1
            print(f"{name}: {fault[:200]}")
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if peak > MOST_BYTES:
        faults += 1
        print(f"{peak / 2**30:.1f} GB were taken")
    return faults


def run_script(path: Path, *arguments: object) -> subprocess.CompletedProcess:
    """A fuzz script in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, str(path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=path.parent)


def _late(number: int, frame: object) -> None:
    raise TimeoutError(f"no end in {SECONDS} s")
