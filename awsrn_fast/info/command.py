"""The command line of ``python -m awsrn_fast.info``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from awsrn_fast.arguments import Parser
from awsrn_fast.cli import results
from awsrn_fast.environment import report
from awsrn_fast.models import facts_table


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.models:
        models = facts_table()
        if options.json:
            print(json.dumps([dataclasses.asdict(each) for each in models], indent=2))
        else:
            _print_models(models)
        return 0
    facts = report()
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        _print_report(facts)
    return 0


def parser() -> Parser:
    parser = Parser(
        "info",
        description="Print versions, native libraries, instruction set, GPUs, and for each op the backend that would "
        "run and why the others would not. Put its output into bug reports.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--models", action="store_true", help="print parameters and mult-adds of every network and scale instead"
    )
    return parser


def _print_report(facts: dict[str, Any]) -> None:
    # Standard output, unlike the other commands' progress: the report is this command's data.
    console = results

    def section(title: str, lines: Iterable[str]) -> None:
        console.print(title, style="bold")
        for line in lines:
            console.print(f"  {line}")

    section("Versions", (f"{name} {version or '-'}" for name, version in facts["versions"].items()))
    section("Native libraries", (_library_line(name, facts["native"][name]) for name in facts["native"]))
    cpu = facts["cpu"]
    isas = f"instruction set {cpu['isa']} of {', '.join(cpu['isas'])}" if cpu["isa"] else "no native instruction set"
    section("CPU", [cpu["model"], f"{cpu['threads']} threads, {cpu['cores']} cores, {isas}"])
    gpus = facts["gpus"]
    section(
        "GPUs",
        [gpus["reason"]]
        if gpus["reason"]
        else [f"{g['name']}, compute capability {g['capability']}, {g['memory_mib']} MiB" for g in gpus["devices"]],
    )
    section("Ops", (line for name, choices in facts["ops"].items() for line in _op_lines(name, choices)))


def _library_line(name: str, library: dict[str, Any]) -> str:
    if library["loaded"]:
        return f"{name}: loaded, {library['build'] or 'built'} ({library['file']})"
    return f"{name}: {library['reason']}"


def _op_lines(name: str, choices: list[dict[str, Any]]) -> Iterable[str]:
    for choice in choices:
        yield f"{name} on {choice['device']} ({choice['dtype']}): {choice['backend'] or 'none'}"
        for other, reasons in choice["against"].items():
            yield f"    not {other}: {'; '.join(reasons)}"


def _print_models(facts: Iterable[Any]) -> None:
    table = Table(title="Mult-adds for an output of 1280x720")
    for column in ("variant", "scale", "parameters", "mult-adds", "merged"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for each in facts:
        costs = (f"{count / 1e9:.1f} G" for count in (each.mult_adds, each.mult_adds_merged))
        table.add_row(each.variant, f"x{each.scale}", f"{each.parameters:,}", *costs)
    results.print(table)
