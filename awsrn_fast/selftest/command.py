"""The command line of ``python -m awsrn_fast.selftest``."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Sequence

import torch
from rich.console import JustifyMethod
from rich.table import Table

from awsrn_fast import native, ops
from awsrn_fast.arguments import Parser
from awsrn_fast.cli import console
from awsrn_fast.environment import report
from awsrn_fast.errors import UserError
from awsrn_fast.terminal import DataConsole

from .kernels import check_ops, places
from .networks import check_networks
from .outcome import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    devices = _devices(options.device)
    start, outcomes = time.perf_counter(), _left_out(devices)

    def seen(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.status == "FAILED":
            console.print(f"FAILED {outcome.name}: {outcome.detail}", style="bold red")

    where = places(devices)
    check_ops(options.op or list(ops.ROWS), where, options.plant, seen)
    if not options.op:
        check_networks(where, options.plant, seen)
    if options.plant and options.plant not in {outcome.name for outcome in outcomes if outcome.status != "not run"}:
        raise UserError(f"--plant {options.plant}: no check of this name was run; the table has the names")
    seconds = time.perf_counter() - start
    failed = sum(outcome.status == "FAILED" for outcome in outcomes)
    if options.json:
        facts = {"machine": report(), "seconds": seconds, "failed": failed}
        print(json.dumps(facts | {"checks": [dataclasses.asdict(outcome) for outcome in outcomes]}, indent=2))
    else:
        _print(outcomes, failed, seconds)
    return 1 if failed else 0


def parser() -> Parser:
    parser = Parser(
        "selftest",
        description="Run every kernel that this machine can run, forward and backward, and whole networks, and compare "
        "with plain PyTorch in fp64. Exit status 1 if anything is wrong. Put its output into bug reports.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--device", default="all", help="all (the CPU and every GPU), cpu, cuda or cuda:N")
    parser.add_argument(
        "--op", action="append", choices=list(ops.ROWS), help="only this op (may be repeated), and no networks"
    )
    parser.add_argument(
        "--plant",
        default="",
        metavar="NAME",
        help="falsify the result of the check of this name, to see that the selftest detects it",
    )
    return parser


def _devices(asked: str) -> list[str]:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    known = {"all": ["cpu", *gpus], "cpu": ["cpu"], "cuda": gpus} | {gpu: [gpu] for gpu in gpus}
    if not known.get(asked):
        raise UserError(f"--device {asked}: this machine has {', '.join(['cpu', *gpus])}")
    return known[asked]


def _left_out(devices: list[str]) -> list[Outcome]:
    """Parts that the installation lacks, or has for other machines than this."""
    outcomes = []
    if native.cpu is None:
        outcomes.append(Outcome("cpu", "not run", detail=native.cpu_reason))
    else:
        built = re.match("built for (.+) with ", native.build_info().get("cpu", ""))
        lacking = set(built[1].split(", ")) - set(native.cpu.available_isas()) if built else set()
        outcomes += [Outcome(f"cpu/{isa}", "not run", detail="this CPU lacks it") for isa in sorted(lacking)]
    if native.cuda is None:
        outcomes.append(Outcome("cuda", "not run", detail=native.cuda_reason))
    elif not any(device.startswith("cuda") for device in devices):
        outcomes.append(Outcome("cuda", "not run", detail=f"no GPU here for the code for {native.cuda.archs}"))
    return outcomes


def _print(outcomes: list[Outcome], failed: int, seconds: float) -> None:
    # Standard output: the table is this command's data.
    out = DataConsole()
    table = Table(title="Largest error, as a share of what is allowed")
    for column in ("check", "status", "error", "seconds"):
        justify: JustifyMethod = "right" if column in ("error", "seconds") else "left"
        table.add_column(column, justify=justify, no_wrap=True, overflow="fold")
    for outcome in outcomes:
        if outcome.status != "not run":
            worst = "" if outcome.worst is None else f"{outcome.worst:.2f}"
            table.add_row(outcome.name, outcome.status, worst, f"{outcome.seconds:.1f}")
    out.print(table)
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.status == "not run":
            reasons.setdefault(outcome.detail, []).append(outcome.name)
    for reason, names in reasons.items():
        out.print(f"not run: {', '.join(names)}: {reason}")
    for outcome in outcomes:
        if outcome.status == "FAILED":
            out.print(f"FAILED: {outcome.name}: {outcome.detail}")
    done = sum(outcome.status == "ok" for outcome in outcomes)
    left = sum(outcome.status == "not run" for outcome in outcomes)
    out.print(f"{done} ok, {failed} failed, {left} not run, {seconds:.0f} s")
