"""The command line of ``python -m awsrn_fast.tune``."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from awsrn_fast import backends, cli, ops
from awsrn_fast.arguments import Parser
from awsrn_fast.devices import DTYPES, dtype_name
from awsrn_fast.errors import UserError

if TYPE_CHECKING:
    from awsrn_fast.kernels._gpu import Gpu

    from .problems import Task
    from .trials import Found

EPILOG = """
Every candidate is checked against fp64 before it is timed. The file is read at the next import; kernels never measure
anything at run time. It is written after every problem: an interrupted run continues where it stopped, and deleting
the file starts from scratch. Exit status: 0, 1 if a kernel's own tile gives wrong results here, 2 without a GPU or for
wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune what the options say. Returns the exit status; raises UserError on wrong usage."""
    options = parser().parse_args(arguments)
    if importlib.util.find_spec("triton") is None:
        raise UserError("tune is for the Triton kernels, and Triton is not installed: pip install triton")
    if not options.dry_run and not torch.cuda.is_available():
        raise UserError("tune measures on a GPU, and torch sees none here; --dry-run lists the candidates without one")
    # Behind the checks, since this imports Triton.
    from awsrn_fast.kernels import _gpu, _tuned

    from .problems import tasks_of

    if options.arch and not re.fullmatch(r"sm_\d+|gfx[0-9a-f]+", options.arch):
        raise UserError(f"unknown architecture {options.arch!r}: sm_86, gfx942, ...")
    if options.arch and options.dry_run:
        gpu = _gpu.Gpu(options.arch, options.arch)
    elif options.arch:
        raise UserError("--arch needs --dry-run: tiles are measured on this machine's GPU")
    elif torch.cuda.is_available():
        gpu = _gpu.gpu(torch.empty(0, dtype=torch.float32, device="cuda"))
    else:
        gpu = _gpu.Gpu("sm_80", "sm_80")
    dtypes = [DTYPES[name] for name in options.dtype]
    tasks = [task for op in options.op for task in tasks_of(op, dtypes, gpu)]
    if not tasks:
        raise UserError(f"nothing to tune: no Triton kernel of {', '.join(options.op)} runs on {gpu.arch}")
    if options.dry_run:
        _list(tasks, gpu.arch)
        return 0
    return _tune(tasks, options.out or _tuned.users_folder() / _tuned.file_name(gpu.name), gpu)


def parser() -> Parser:
    rows = [op for op in ops.ROWS if "triton" in backends.registered(op)]
    p = Parser(
        "tune",
        description="Find the fastest tiles of the Triton kernels on this GPU and write them down for later runs.",
        epilog=EPILOG,
    )
    p.add_argument(
        "--op", nargs="+", choices=rows, default=rows, metavar="OP", help=f"{', '.join(rows)} (default: all)"
    )
    p.add_argument(
        "--dtype",
        nargs="+",
        type=dtype_name,
        choices=tuple(DTYPES),
        default=list(DTYPES),
        metavar="T",
        help=f"{', '.join(DTYPES)} (default: all)",
    )
    p.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write (default: the GPU's name in AWSRN_FAST_TUNED, or in ~/.cache/awsrn_fast/tuned)",
    )
    p.add_argument("--dry-run", action="store_true", help="list the candidates; needs no GPU")
    p.add_argument("--arch", metavar="A", help="with --dry-run: sm_86, gfx942, ... (default: this GPU's, else sm_80)")
    return p


def _list(tasks: Sequence[Task], arch: str) -> None:
    from .trials import show

    total = 0
    for task in tasks:
        candidates = task.candidates
        total += len(candidates)
        print(f"{task.problem.name}: {len(candidates)} candidates, measured in {task.op}, {task.case.name}")
        for tiles in candidates:
            print(f"  {show(tiles)}")
    print(f"{len(tasks)} problems, {total} candidates on {arch}")


def _tune(tasks: Sequence[Task], path: Path, gpu: Gpu) -> int:
    from triton.testing import do_bench

    from .trials import File, Wrong, tune

    file = File(path, gpu)
    todo = [task for task in tasks if not file.has(task)]
    if len(todo) < len(tasks):
        cli.console.print(f"{len(tasks) - len(todo)} of {len(tasks)} problems are in {path} already")
    wrong = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with cli.passing_bar(*columns, TimeRemainingColumn()) as progress:
        bar = progress.add_task("", total=sum(len(task.candidates) for task in todo))

        def timer(call: object) -> float:
            return do_bench(call, return_mode="median")

        for task, found in tune(todo, file, torch.device("cuda"), timer, lambda: progress.advance(bar)):
            wrong += isinstance(found, Wrong)
            cli.console.print(_line(task, found))
    cli.console.print(f"written: {path}")
    return 1 if wrong else 0


def _line(task: Task, found: Found | Exception) -> str:
    from .trials import show

    if isinstance(found, Exception):
        return f"{task.problem.name}: wrong with the kernel's own tile, please report it: {found}"
    chosen = show(found.tiles) if found.tiles else "the kernel's own"
    refused = f"; {len(found.refused)} refused, such as {found.refused[0]}" if found.refused else ""
    return f"{task.problem.name}: {1e3 * found.ms:.1f} us ({1e3 * found.own_ms:.1f} us its own): {chosen}{refused}"
