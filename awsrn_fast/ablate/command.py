"""The command ``python -m awsrn_fast.ablate``: equal runs that differ in one part, then one table and one plot."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from awsrn_fast.arguments import Parser
from awsrn_fast.cli import console
from awsrn_fast.commands import spelled
from awsrn_fast.errors import UserError
from awsrn_fast.train.command import main as train
from awsrn_fast.train.state import has_state

from .plans import PLANS, Plan
from .summary import Outcome, read_outcome, write_plot, write_table

EPILOG = """
Options that are not listed here go to the trainer, the same for every row: --data, --variant, --scale, --iterations,
--lr and so on ({train} --help). Finished rows are not run again, and an interrupted row is resumed, so the same command
finishes what was stopped.
"""


def parser() -> Parser:
    """The command's own arguments."""
    p = Parser(
        "ablate",
        description="Train the rows of a plan at equal iterations and seeds, and compare them.",
        epilog=EPILOG.format(train=spelled("train")),
        allow_abbrev=False,
    )
    p.add_argument("--plan", choices=PLANS, default="mpts", help="plan whose rows are compared (default: %(default)s)")
    p.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0],
        metavar="N",
        help="random seeds; every row is trained once with each (default: 0)",
    )
    p.add_argument("--out", type=Path, default=Path("runs/ablation"), metavar="DIR", help="folder for runs and results")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and write table.md, table.csv and plot.png; 0, or 130 after an interruption."""
    args, shared = parser().parse_known_args(argv)
    if find_spec("matplotlib") is None:
        raise UserError("ablate draws a plot, which needs matplotlib: pip install matplotlib")
    _refuse_what_the_plan_decides(PLANS[args.plan], shared)
    outcomes: list[Outcome] = []
    for row, fields in PLANS[args.plan].items():
        for seed in args.seeds:
            folder = args.out / args.plan / f"{_file_name(row)}-seed{seed}"
            console.print(f"{row}, seed {seed}, in {folder}", style="bold")
            status = _run(folder, fields | {"seed": seed}, shared)
            if status:
                return status
            outcomes.append(read_outcome(row, seed, folder))
    write_table(args.out / args.plan, outcomes)
    write_plot(args.out / args.plan / "plot.png", outcomes)
    return 0


def _run(folder: Path, fields: dict[str, Any], shared: Sequence[str]) -> int:
    options = [*_as_options(fields), *shared, "--out", str(folder)]
    if has_state(folder):
        options = ["--out", str(folder), "--resume", *shared]
    return train(options)


def _as_options(fields: dict[str, Any]) -> list[str]:
    values = {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in fields.items()}
    return [word for name, value in values.items() for word in ("--" + name.replace("_", "-"), value)]


def _refuse_what_the_plan_decides(plan: Plan, shared: Sequence[str]) -> None:
    decided = {"out", "seed", "resume", *(name for fields in plan.values() for name in fields)}
    for word in shared:
        name = word.partition("=")[0]
        if name.startswith("--") and name[2:].replace("-", "_") in decided:
            raise UserError(f"{name} is set by the plan: leave it out")


def _file_name(row: str) -> str:
    return "".join(c if c.isalnum() or c in "+-" else "_" for c in row)
