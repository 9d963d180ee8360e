"""The command line of ``python -m awsrn_fast.fit``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.table import Table
from rich.text import Text

from awsrn_fast import cli
from awsrn_fast.arguments import Parser, real, whole
from awsrn_fast.commands import spelled
from awsrn_fast.devices import DTYPES, dtype_name
from awsrn_fast.errors import UserError
from awsrn_fast.memory import ASSUMED, REASONS, Assumptions, Network, Target, parse_size, show_size
from awsrn_fast.models import SCALES, VARIANTS

from .cards import DRIVER_SHARE, find_card
from .solver import Question, Row, solve

EPILOG = f"""
Peaks come from running the training step and the network on fake tensors: nothing is computed and no GPU is needed.
Against torch's own allocator on the CPU they are within 10 %. What cannot be known that way (context, workspace,
fragmentation) is assumed, printed apart, and can be given. Of a card's memory {DRIVER_SHARE:.1%} is left to the driver.
Units are powers of 1024, as on the cards. Training is stage P here; the adversarial stages take more, and the option
--memory-limit of training predicts those, too. The assembled picture of a tiled image lies in the host's memory, not in
the card's. Exit status: 0, or 2 for wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the sizes that fit. Returns 0; raises UserError on wrong usage."""
    options = parser().parse_args(arguments)
    device, name, capability, memory = _device(options)
    dtype = options.dtype or ("float32" if capability is None else "bfloat16" if capability >= (8, 0) else "float16")
    if device == "cpu" and dtype == "float16":
        raise UserError("--dtype float16 is for GPUs; on the CPU use bfloat16 or float32")
    question = Question(
        network=Network(options.variant, options.scale),
        target=Target(device, capability, DTYPES[dtype]),
        memory=memory,
        assumed=_assumptions(options, device),
        batch=options.batch,
        patch=options.patch,
        tile=options.tile,
    )
    with cli.console.status("predicting") as status:
        rows, remarks = solve(question, lambda line: status.update(f"predicting {line}"))
    for remark in remarks:
        cli.console.print(remark, style="yellow")
    command = _command(question, rows, dtype)
    if options.json:
        print(json.dumps(_as_dict(question, rows, name, dtype, command), indent=2))
    else:
        _print(question, rows, name, dtype, command)
    return 0


def parser() -> Parser:
    p = Parser(
        "fit",
        description="Predict the peak memory of training and upscaling, and the largest batch, patch and tile that fit "
        "in a card's memory.",
        epilog=EPILOG,
    )
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--gpu", metavar="NAME", help='a card by name, such as "RTX 2080 Ti"')
    where.add_argument("--memory", metavar="SIZE", help="memory of another device, such as 11GB")
    p.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="kind of the --memory device (default: %(default)s)"
    )
    p.add_argument("--scale", type=int, choices=SCALES, default=4, help="upscaling factor (default: %(default)s)")
    p.add_argument(
        "--variant",
        choices=tuple(VARIANTS),
        default="improved-s",
        metavar="V",
        help=f"{', '.join(VARIANTS)} (default: %(default)s)",
    )
    p.add_argument(
        "--dtype",
        type=dtype_name,
        choices=tuple(DTYPES),
        help="arithmetic of the network (default: as training chooses, bfloat16 from Ampere on, float16 on older GPUs "
        "and with --memory, float32 on a CPU)",
    )
    p.add_argument("--batch", type=whole(1), default=16, metavar="B", help="samples of a step (default: %(default)s)")
    p.add_argument("--patch", type=whole(1), default=48, metavar="P", help="LR patch side (default: %(default)s)")
    p.add_argument(
        "--tile",
        type=whole(1),
        default=512,
        metavar="T",
        help="side of the tiles of large images, LR pixels (default: %(default)s)",
    )
    p.add_argument("--context", metavar="SIZE", help=_assumption_help("context"))
    p.add_argument("--workspace", metavar="SIZE", help=_assumption_help("workspace"))
    p.add_argument("--scratch", type=real(0), metavar="X", help=_assumption_help("scratch"))
    p.add_argument("--fragmentation", type=real(0), metavar="X", help=_assumption_help("fragmentation"))
    p.add_argument("--json", action="store_true", help="print JSON instead of a table; sizes in bytes")
    return p


def _device(options: argparse.Namespace) -> tuple[str, str, tuple[int, int] | None, int]:
    """Device type, name, compute capability and usable bytes."""
    if options.gpu is not None:
        if options.device == "cpu":
            raise UserError("--device cpu goes with --memory, not with --gpu")
        name, card = find_card(options.gpu)
        return "cuda", name, card.capability, card.usable
    size = parse_size(options.memory)
    if options.device == "cpu":
        return "cpu", f"CPU with {show_size(size)}", None, size
    return "cuda", f"GPU with {show_size(size)}", (7, 5), int(size * (1 - DRIVER_SHARE))


def _assumptions(options: argparse.Namespace, device: str) -> Assumptions:
    given = {name: parse_size(size) for name in ("context", "workspace") if (size := getattr(options, name))}
    given |= {name: x for name in ("scratch", "fragmentation") if (x := getattr(options, name)) is not None}
    return replace(ASSUMED[device], **given)


def _command(question: Question, rows: list[Row], dtype: str) -> str:
    """A suggested training command: with the requested sizes if they fit, else smaller ones; "" if nothing fits."""
    plain, checkpointed, _ = rows
    chosen = next((row for row in (plain, checkpointed) if row.fits), None)
    batch = question.batch if chosen else checkpointed.largest["batch"]
    if not batch:
        return ""
    extra = "" if chosen is plain else " --checkpoint-activations true"
    return (
        f"{spelled('train')} --variant {question.network.variant} --scale {question.network.scale} "
        f"--dtype {dtype} --curriculum false --patch {question.patch} --batch {batch}{extra}"
    )


def _as_dict(question: Question, rows: list[Row], name: str, dtype: str, command: str) -> dict:
    assumed = {
        key: {"value": value, "reason": REASONS[question.target.device][key]}
        for key, value in asdict(question.assumed).items()
    }
    sizes = {"batch": question.batch, "patch": question.patch, "tile": question.tile}
    network = {"variant": question.network.variant, "scale": question.network.scale, "dtype": dtype}
    facts = {"device": name, "memory": question.memory, **network, **sizes, "assumed": assumed, "command": command}
    return facts | {row.name.replace(", ", "_"): row.as_dict() for row in rows}


def _print(question: Question, rows: list[Row], name: str, dtype: str, command: str) -> None:
    console = cli.results
    network = question.network
    sizes = [f"{question.batch} patches of {question.patch}"] * 2 + [f"tiles of {question.tile}"]
    table = Table(
        title=f"{network.variant} x{network.scale}, {dtype}, on {name}: {show_size(question.memory)} available",
        title_justify="left",
    )
    table.add_column("")
    for row in rows:
        table.add_column(Text(row.name.replace(", ", ",\n")), justify="right")
    lines: dict[str, Sequence[str | Text]] = {
        "at": sizes,
        "tensors at the peak": [show_size(row.need.allocated) for row in rows],
        "fragmentation": [show_size(row.need.margin) for row in rows],
        "workspace": [show_size(row.need.workspace) for row in rows],
        "context": [show_size(row.need.context) for row in rows],
        "in all": [show_size(row.need.total) for row in rows],
        "fits": [Text("yes", "green") if row.fits else Text("no", "red") for row in rows],
        "largest batch": [_largest(row, "batch") for row in rows],
        "largest patch": [_largest(row, "patch") for row in rows],
        "largest tile": [_largest(row, "tile") for row in rows],
    }
    for label, cells in lines.items():
        table.add_row(label, *cells, end_section=label in ("at", "fits"))
    console.print(table)
    prediction = rows[0].prediction
    console.print(
        f"training's tensors: weights {show_size(prediction.weights)}, average {show_size(prediction.average)}, "
        f"Adam {show_size(prediction.optimizer)}, batch {show_size(prediction.batch)}, "
        f"gradients, activations and temporaries {show_size(prediction.work)}"
    )
    console.print("assumed, not measured:")
    assumed = question.assumed
    values = {
        "context": show_size(assumed.context),
        "workspace": show_size(assumed.workspace),
        "scratch": f"{assumed.scratch:g} x the largest tensor",
        "fragmentation": f"{assumed.fragmentation:.0%} of the tensors",
    }
    for key, value in values.items():
        console.print(f"  {key} {value}: {REASONS[question.target.device][key]}")
    console.print()
    if command:
        console.print(command)
    else:
        console.print("nothing fits: take a smaller --patch or --variant", style="red")


def _largest(row: Row, size: str) -> str:
    return str(row.largest[size] or "none") if size in row.largest else ""


_ASSUMED = {
    "context": "memory of the CUDA context",
    "workspace": "memory that libraries take for workspaces",
    "scratch": "temporary memory of kernels, as a multiple of the largest tensor",
    "fragmentation": "memory lost to the allocator's fragmentation, as a share of the tensors",
}


def _assumption_help(name: str) -> str:
    return f"{_ASSUMED[name]} (default: assumed, with the reason printed below the table)"
