"""``python -m awsrn_fast.replay``: a recorded upscaling, run again and compared bit by bit."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from awsrn_fast import backends, cli
from awsrn_fast.arguments import Parser
from awsrn_fast.commands import spelled
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Placed
from awsrn_fast.upscale import digests
from awsrn_fast.upscale.command import enlarge, prepare, requested_size
from awsrn_fast.upscale.enlarger import Enlarger, Settings
from awsrn_fast.upscale.fields import IMAGE
from awsrn_fast.upscale.options import parser as options_of_upscale
from awsrn_fast.upscale.plan import Job
from awsrn_fast.upscale.record import chosen

from .differences import difference
from .recorded import Recorded, read_record

EPILOG = """
Inputs and weights must be the recorded ones, by their SHA-256; nothing is computed with others. The tiles are the
recorded ones too, whatever memory is free now. With the same versions on the same kind of CPU results have the same
bits, with any number of threads. Exit status: 0 the same pixels, 1 others, 2 wrong usage (nothing done).
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser("replay", description="Run a recorded upscaling again and compare the results.", epilog=EPILOG)
    p.add_argument("record", type=Path, metavar="FILE", help=f"record by {spelled('upscale')} --report")
    p.add_argument(
        "--inputs",
        nargs="+",
        type=Path,
        default=[],
        metavar="IN",
        help="the inputs, where they have moved; which is which is found by their SHA-256",
    )
    p.add_argument("--weights", type=Path, metavar="W", help="the weights file, where it has moved")
    p.add_argument("--device", metavar="D", help="cpu, cuda, ... (default: the recorded one)")
    p.add_argument("--keep", type=Path, metavar="DIR", help="keep the new results here (default: they are removed)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage, before any computation."""
    args = parser().parse_args(argv)
    recorded = read_record(args.record)
    other = next((image["kind"] for image in recorded.images if image["kind"] != IMAGE.title), None)
    if other is not None:
        raise UserError(f"{args.record}: only images are replayed, it has {other}")
    weights, inputs = recorded.weights(args.weights), recorded.inputs(args.inputs)
    if args.keep is not None and args.keep.exists() and (not args.keep.is_dir() or any(args.keep.iterdir())):
        raise UserError(f"--keep {args.keep}: give a new or empty folder")
    options = _options(recorded, weights, args.device)
    for text in recorded.differences():
        cli.console.print(f"not as recorded: {text}")
    kernel = recorded.content["options"]["kernel"]
    placed, settings = prepare(options, np.array(kernel) if isinstance(kernel, list) else kernel)
    place = tempfile.TemporaryDirectory() if args.keep is None else nullcontext(args.keep)
    with place as folder, backends.use_backend(options.backend):
        for op, backend in chosen(placed).items():
            before = recorded.content["kernels"].get(op)
            if before != backend:
                cli.console.print(f"not as recorded: {op} by {backend} (recorded: {before})")
        same = [
            _replayed(image, source, Path(folder) / str(number), placed, settings, options)
            for number, (image, source) in enumerate(zip(recorded.images, inputs, strict=True), 1)
        ]
    return 0 if all(same) else 1


def _options(recorded: Recorded, weights: Path, device: str | None) -> argparse.Namespace:
    """The arguments of the recorded run, for these weights."""
    options = options_of_upscale().parse_args(["-"])
    known = vars(options)
    for name, value in recorded.content["options"].items():
        if name not in known:
            raise UserError(f"{recorded.path}: the record has an option {name!r} that this version does not know")
        known[name] = value
    options.weights = str(weights)
    options.device = device or recorded.content["device"]
    options.size = requested_size(options)
    options.memory_limit = None  # the tiles are the recorded ones
    return options


def _replayed(
    image: dict[str, Any], source: Path, folder: Path, placed: Placed, settings: Settings, options: argparse.Namespace
) -> bool:
    """Run one image again and print how the result compares; returns whether it has the same pixels."""
    then = image["output"]
    target = folder / Path(then["file"]).name
    tile = 0 if image["tile"] is None else tuple(image["tile"])
    enlarge(Job(source, target), Enlarger(placed, replace(settings, tile=tile)), options)
    found, before = _verdict(then, target), Path(then["file"])
    if found is not None:
        cli.results.print(f"{before}: {found}")
        return True
    there = before.is_file() and digests.of_file(before) == then["sha256"]
    off = difference(before, target) if there else None
    how = "the recorded result is not there to compare with" if not there else off or "of another size"
    cli.results.print(f"{before}: other pixels; {how}")
    return False


def _verdict(then: dict[str, Any], target: Path) -> str | None:
    """What is the same; None: the pixels are not."""
    if digests.of_file(target) == then["sha256"]:
        return "the same bits"
    return (
        "the same pixels, in a file of another encoder" if digests.of_pixels(target) == then["pixels_sha256"] else None
    )
