"""Peak memory of one contender on the CPU, in a process of its own: ``python benchmarks/resident.py ROW CONTENDER``.

Prints the growth in bytes of the process's peak resident memory over that after building and one warm-up call.
Linux only: the peak is reset through /proc/self/clear_refs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import torch
from contenders import field_of
from rows import Row, all_rows, tiny

DTYPES = (torch.float32, torch.bfloat16)


def growth_of(row: Row, contender: str, is_tiny: bool = False) -> int:
    """Growth in bytes, measured in a new process.

    Raises:
        RuntimeError: that process failed; its last line says why.
    """
    command = [sys.executable, __file__, row.name, contender, *(["--tiny"] if is_tiny else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"memory of {contender} in {row.name}: {(done.stderr.splitlines() or ['no reason'])[-1]}")
    return int(done.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row")
    parser.add_argument("contender")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    rows = {row.name: row for row in (tiny(r) if args.tiny else r for r in all_rows(DTYPES))}
    (contender,), _ = field_of(rows[args.row], torch.device("cpu"), only=args.contender)
    contender.once()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    contender.once()
    print(_status("VmHWM") - before)


def _status(key: str) -> int:
    return 1024 * int(re.search(rf"^{key}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)[1])


if __name__ == "__main__":
    main()
