"""``python -m awsrn_fast.evaluate``: PSNR and SSIM on benchmark sets."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

import awsrn_fast
from awsrn_fast import cli
from awsrn_fast.arguments import Parser
from awsrn_fast.checkpoint import bundled_names
from awsrn_fast.data import upscale
from awsrn_fast.devices import DTYPES, dtype_name, pick_device, pick_dtype
from awsrn_fast.errors import UserError
from awsrn_fast.files import write_text
from awsrn_fast.inference import Placed, SelfEnsemble, with_local_means
from awsrn_fast.metrics import super_resolve
from awsrn_fast.models import SCALES, SuperResolution
from awsrn_fast.remarks import say_if_slow, say_licences

from .measure import Method, complain_about, measure
from .sets import open_sets
from .tables import write_tables
from .worst import MOST, Worst

BICUBIC = "bicubic"
ENSEMBLE = "+"
"""Suffix of the set names of self-ensemble figures, as in the literature."""

EPILOG = """
PSNR and SSIM are taken on BT.601 Y of the 8-bit result with `scale` border pixels left out, as in the literature, and
averaged over a set's images. LR is MATLAB's bicubic of the HR image. Exit status: 0 all done, 1 some images could not
be used (the figures are those of the others), 2 wrong usage (nothing done), 130 interrupted.
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser("evaluate", description="Measure a network on benchmark sets.", epilog=EPILOG)
    p.add_argument(
        "weights",
        nargs="*",
        metavar="WEIGHTS",
        help=f"weights file (.safetensors, .pth) or bundled name, or {BICUBIC}; several with --tables (default there: "
        "every bundled one of x4 and x8)",
    )
    p.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="DIR",
        help="one folder per set, with the HR images in it or in its subfolder HR/",
    )
    p.add_argument("--scale", type=int, choices=SCALES, help="upscaling factor (default: that of the weights)")
    p.add_argument(
        "--lr", metavar="NAME", help="take LR from this subfolder of each set, such as LR_bicubic, instead of making it"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write {set: {psnr, ssim, n, images}} here")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each image here: set, image, psnr, ssim")
    p.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help=f"write a page with the {MOST} worst images here: input, bicubic, result and original with a slider, and "
        "the error as a map",
    )
    p.add_argument("--save-images", type=Path, metavar="DIR", help="write the results as DIR/SET/IMAGE.png")
    p.add_argument(
        "--tables",
        type=Path,
        metavar="DIR",
        help="print the paper's Tables I and II (x4, x8) with what is measured beside what was published, and what "
        "baseline and improved network cost; write DIR/tables.md with pictures",
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    p.add_argument(
        "--stats",
        choices=("exact", "local"),
        default="exact",
        help="gates from means over the whole image, or over 48x48 pixels around each (default: %(default)s)",
    )
    p.add_argument(
        "--dtype",
        type=dtype_name,
        choices=tuple(DTYPES),
        default="float32",
        help="arithmetic of the network (default: %(default)s)",
    )
    p.add_argument(
        "--self-ensemble",
        action="store_true",
        help=f"also measure the mean over 8 flips and rotations, reported separately as SET{ENSEMBLE}",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage, before any computation."""
    args = parser().parse_args(argv)
    for file in (args.json, args.csv, args.html):
        if file and file.is_dir():
            raise UserError(f"{file} is a folder: give the name of a file")
    sets = open_sets(args.data, args.lr)
    if args.tables:
        for option in ("json", "csv", "html", "save_images", "scale", "self_ensemble"):
            if getattr(args, option):
                raise UserError(f"--tables chooses scales and outputs itself: leave out --{option.replace('_', '-')}")
        say_if_slow(pick_device(args.device))
        say_licences(*([] if args.weights else bundled_names()))
        return write_tables(args.tables, sets, args.weights, _placing(args), _where(args))
    if len(args.weights) != 1:
        raise UserError(f"give one weights file or {BICUBIC}: {len(args.weights)} were given (several with --tables)")
    (args.weights,) = args.weights
    methods, scale = _methods(args)
    worst = Worst(args.weights, scale) if args.html else None
    results, failures = measure(sets, methods, scale, args.save_images, worst)
    cli.results.print(results.table(f"{args.weights}, x{scale}"))
    if args.json:
        write_text(args.json, results.json())
    if args.csv:
        write_text(args.csv, results.csv())
    if worst is not None and (count := worst.write(args.html)):
        cli.console.print(f"written: {args.html}, the {count} worst images")
    complain_about(failures, sets)
    return 1 if failures else 0


def _methods(args: argparse.Namespace) -> tuple[dict[str, Method], int]:
    """The methods to measure, by the suffix of their set names, and the scale."""
    if args.weights == BICUBIC:
        if args.scale is None:
            raise UserError(f"--scale is missing: {BICUBIC} works at any, so give one of {SCALES}")
        if args.html:
            raise UserError(f"--html shows what a network makes beside {BICUBIC}: give weights")
        if args.self_ensemble:
            raise UserError(f"--self-ensemble is for networks: {BICUBIC} gives the same in every orientation")
        return {"": partial(upscale, scale=args.scale)}, args.scale
    say_if_slow(pick_device(args.device))
    place = _placing(args)
    model = awsrn_fast.load(args.weights)
    scale = model.facts.scale
    if args.scale not in (None, scale):
        raise UserError(f"{args.weights} is for x{scale}: it cannot be measured with --scale {args.scale}")
    network = place(model)
    methods: dict[str, Method] = {"": partial(super_resolve, network)}
    if args.self_ensemble:
        methods[ENSEMBLE] = partial(super_resolve, SelfEnsemble(network))
    return methods, scale


def _placing(args: argparse.Namespace) -> Callable[[SuperResolution], Placed]:
    """A function that places a network on its device, in the requested form."""
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    form = with_local_means if args.stats == "local" else lambda network: network
    return lambda model: Placed(form(model.fuse()), device, dtype)


def _where(args: argparse.Namespace) -> str:
    device = pick_device(args.device)
    count = torch.get_num_threads()
    threads = f" with {count} thread{'s' if count > 1 else ''}" if device.type == "cpu" else ""
    return f"{args.dtype} on {device}{threads}"
