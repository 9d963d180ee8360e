"""``python -m awsrn_fast.compare``: input, bicubic and networks side by side, with zoomed crops."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import awsrn_fast
from awsrn_fast.arguments import Parser
from awsrn_fast.cli import console, results
from awsrn_fast.commands import spelled
from awsrn_fast.data import crop_to_multiple, downscale, read_rgb, upscale
from awsrn_fast.devices import DTYPES, dtype_name, pick_device, pick_dtype
from awsrn_fast.errors import UserError
from awsrn_fast.figure import Box, Panel, comparison, panels, sharpest_differences
from awsrn_fast.files import replacing
from awsrn_fast.inference import Placed
from awsrn_fast.metrics import super_resolve
from awsrn_fast.page import compared, write_page
from awsrn_fast.remarks import say_if_slow, say_licences

DEFAULT_WEIGHTS = "improved-s-x4"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
PAGE = ".html"

EPILOG = """
The crops are enlarged by whole factors without smoothing. Without --crop they are taken where the first network
differs most from bicubic, which are its best or worst places, not typical ones. PSNR and SSIM (with --hr) are of the
whole image, measured as {evaluate} does. Exit status: 0 done, 1 failed, 2 wrong usage.
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser(
        "compare",
        description="Make one picture that shows an image upscaled by bicubic interpolation and by several networks.",
        epilog=EPILOG.format(evaluate=spelled("evaluate")),
    )
    p.add_argument("image", type=Path, metavar="IMAGE", help="image to upscale; with --hr the high-resolution original")
    p.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"picture: {', '.join(SUFFIXES)}; or {PAGE}: a page with a slider, one file that works offline",
    )
    p.add_argument(
        "--weights",
        nargs="+",
        metavar="NAME",
        help=f"weights files or bundled names, all of one scale; NAME=TITLE gives a title (default: {DEFAULT_WEIGHTS})",
    )
    p.add_argument("--hr", action="store_true", help="IMAGE is the original: shrink it first, show it, print PSNR")
    p.add_argument(
        "--crop",
        action="append",
        type=_box,
        metavar="X,Y,W,H",
        help="crop to show, in pixels of the result; may be given several times (default: chosen, see below)",
    )
    p.add_argument(
        "--crops", type=int, default=2, metavar="N", help="number of crops that are chosen (default: %(default)s)"
    )
    p.add_argument(
        "--crop-size",
        type=int,
        default=80,
        metavar="N",
        help="side of the chosen crops in pixels of the result (default: %(default)s)",
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    p.add_argument(
        "--dtype",
        type=dtype_name,
        choices=tuple(DTYPES),
        default="float32",
        help="arithmetic of the network (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage."""
    args = parser().parse_args(argv)
    if args.output.suffix.lower() not in (*SUFFIXES, PAGE):
        raise UserError(f"{args.output}: the picture is written as one of {', '.join((*SUFFIXES, PAGE))}")
    if args.crop and args.output.suffix.lower() == PAGE:
        raise UserError("--crop is for pictures: a page shows the whole image, and is enlarged there")
    if args.crops < 1 or args.crop_size < 1:
        raise UserError("--crops and --crop-size are at least 1")
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    say_if_slow(device)
    if args.weights is None:
        say_licences(DEFAULT_WEIGHTS)
        args.weights = [DEFAULT_WEIGHTS]
    networks = {title: awsrn_fast.load(name) for name, title in map(_titled, args.weights)}
    if len(networks) < len(args.weights):
        raise UserError("--weights gives one title twice: tell them apart by NAME=TITLE")
    scales = {model.facts.scale for model in networks.values()}
    if len(scales) > 1:
        raise UserError(f"--weights are for x{' and x'.join(map(str, sorted(scales)))}: compare networks of one scale")
    (scale,) = scales
    lr, made, hr = _results(args, {t: Placed(m.fuse(), device, dtype) for t, m in networks.items()}, scale)
    if args.output.suffix.lower() == PAGE:
        shown = compared(args.image.name, lr, made, hr, scale)
        write_page(args.output, f"{args.image.name}, x{scale}", [shown.encoded()])
    else:
        _draw(args, panels(lr, made, hr, scale), scale)
    height, width = made["bicubic"].shape[:2]
    console.print(f"written: {args.output}, {', '.join(networks)} and bicubic at {width}x{height} pixels")
    return 0


def _draw(args: argparse.Namespace, made: Sequence[Panel], scale: int) -> None:
    """Write the picture, and print the figures of its panels."""
    large, bicubic, first = (panel.image for panel in made[:3])
    boxes = args.crop or sharpest_differences(first, bicubic, args.crops, args.crop_size, scale)
    for box in boxes:
        _check(box, large)
    with replacing(args.output) as beside:
        comparison(made[-1].image if args.hr else bicubic, boxes, made).save(beside)
    for panel in made if args.hr else ():
        results.print(f"{panel.title}: {panel.figures}")


def _results(
    args: argparse.Namespace, networks: dict[str, Placed], scale: int
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None]:
    """Input, the results of bicubic and of each network by title and, with --hr, the original."""
    image = read_rgb(args.image)
    hr = crop_to_multiple(image, scale) if args.hr else None
    if hr is not None and not hr.size:
        raise UserError(f"{args.image}: less than one pixel at scale {scale}")
    lr = image if hr is None else downscale(hr, scale)
    made = {"bicubic": upscale(lr, scale)} | {t: super_resolve(network, lr) for t, network in networks.items()}
    return lr, made, hr


def _titled(argument: str) -> tuple[str, str]:
    name, _, title = argument.partition("=")
    return name, title or (Path(name).stem if Path(name).suffix else name)


def _box(text: str) -> Box:
    try:
        box = Box(*map(int, text.split(",")))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,W,H in whole pixels") from None
    if min(box.left, box.top) < 0 or min(box.width, box.height) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: X and Y are at least 0, W and H at least 1")
    return box


def _check(box: Box, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    if box.left + box.width > width or box.top + box.height > height:
        raise UserError(f"--crop {','.join(map(str, box))} reaches beyond the result of {width}x{height} pixels")
