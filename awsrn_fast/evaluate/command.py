"""``python -m awsrn_fast.evaluate``: PSNR and SSIM on benchmark sets."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import awsrn_fast
from awsrn_fast.cli import console, is_out_of_memory
from awsrn_fast.data import upscale
from awsrn_fast.devices import DTYPES, pick_device, pick_dtype
from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing, write_text
from awsrn_fast.inference import Placed, SelfEnsemble
from awsrn_fast.metrics import score, super_resolve
from awsrn_fast.models import SCALES

from .results import Results
from .sets import ImageSet, open_sets

BICUBIC = "bicubic"
ENSEMBLE = "+"
"""Ends the set names of self-ensemble figures, as in the literature."""

Method = Callable[[np.ndarray], np.ndarray]
"""uint8 LR [H, W, 3] to uint8 [S * H, S * W, 3]."""

EPILOG = """
PSNR and SSIM are taken on BT.601 Y of the 8-bit result with `scale` border pixels left out, as in the literature, and
averaged over a set's images. LR is MATLAB's bicubic of the HR image. Exit status: 0 all done, 1 some images could not
be used (the figures are of the others), 2 wrong usage (nothing done), 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(
        prog="python -m awsrn_fast.evaluate", description="Measure a network on benchmark sets.", epilog=EPILOG
    )
    p.add_argument("weights", metavar="WEIGHTS", help=f"weights file (.safetensors, .pth), or {BICUBIC}")
    p.add_argument(
        "--data", nargs="+", required=True, metavar="DIR", help="one folder a set; a set's HR/ is found by itself"
    )
    p.add_argument("--scale", type=int, choices=SCALES, help="upscaling factor (default: that of the weights)")
    p.add_argument(
        "--lr", metavar="NAME", help="take LR from this subfolder of each set, such as LR_bicubic, instead of making it"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write {set: {psnr, ssim, n, images}} here")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each image here: set, image, psnr, ssim")
    p.add_argument("--save-images", type=Path, metavar="DIR", help="write the results as DIR/SET/IMAGE.png")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    p.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="arithmetic (default: %(default)s)")
    p.add_argument(
        "--self-ensemble",
        action="store_true",
        help=f"measure the mean over 8 flips and quarter turns too, reported apart as SET{ENSEMBLE}",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status. Raises UserError on wrong usage, before any work."""
    args = parser().parse_args(argv)
    for file in (args.json, args.csv):
        if file and file.is_dir():
            raise UserError(f"{file} is a folder: give the name of a file")
    sets = open_sets(args.data, args.lr)
    methods, scale = _methods(args)
    results, failures = _measure(sets, methods, scale, args.save_images)
    console.print(results.table(f"{escape(args.weights)}, x{scale}"))
    if args.json:
        write_text(args.json, results.json())
    if args.csv:
        write_text(args.csv, results.csv())
    if failures:
        console.print(f"{len(failures)} of {sum(len(s.files) for s in sets)} images could not be used:")
        for line in failures:
            console.print(f"  {escape(line)}", soft_wrap=True)
    return 1 if failures else 0


def _methods(args: argparse.Namespace) -> tuple[dict[str, Method], int]:
    """What is measured, by the ending of its set names, and the scale."""
    if args.weights == BICUBIC:
        if args.scale is None:
            raise UserError(f"--scale is missing: {BICUBIC} works at any, so give one of {SCALES}")
        if args.self_ensemble:
            raise UserError(f"--self-ensemble is for networks: {BICUBIC} gives the same in every orientation")
        return {"": partial(upscale, scale=args.scale)}, args.scale
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    model = awsrn_fast.load(args.weights)
    scale = model.facts.scale
    if args.scale not in (None, scale):
        raise UserError(f"{args.weights} is for x{scale}: it cannot be measured with --scale {args.scale}")
    network = Placed(model.fuse(), device, dtype)
    methods = {"": partial(super_resolve, network)}
    if args.self_ensemble:
        methods[ENSEMBLE] = partial(super_resolve, SelfEnsemble(network))
    return methods, scale


def _measure(
    sets: Sequence[ImageSet], methods: dict[str, Method], scale: int, save_images: Path | None
) -> tuple[Results, list[str]]:
    """The scores, and a line for each image that could not be used."""
    results = Results([image_set.name + ending for ending in methods for image_set in sets])
    failures = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=sum(len(image_set.files) for image_set in sets))
        for image_set in sets:
            for image in image_set.files:
                progress.update(task, description=escape(f"{image_set.name} {image}"))
                try:
                    pictures = _measure_one(image_set, image, methods, scale, results)
                except UserError as error:
                    failures.append(str(error))
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    failures.append(f"{image_set.files[image]}: out of memory")
                else:
                    _save(pictures, save_images)
                progress.advance(task)
    return results, failures


def _measure_one(
    image_set: ImageSet, image: str, methods: dict[str, Method], scale: int, results: Results
) -> dict[Path, np.ndarray]:
    """Add an image's scores; its results by where they are saved below the folder for them."""
    lr, hr = image_set.pair(image, scale)
    pictures = {image_set.name + ending: method(lr) for ending, method in methods.items()}
    try:
        scores = {name: score(picture, hr, scale) for name, picture in pictures.items()}
    except UserError as error:
        raise UserError(f"{image_set.files[image]}: {error}") from error
    for name, measured in scores.items():
        results.add(name, image, measured)
    return {Path(name, f"{image}.png"): picture for name, picture in pictures.items()}


def _save(pictures: dict[Path, np.ndarray], folder: Path | None) -> None:
    # Not an image's own failure: where one cannot be written, no other can either, so the command ends.
    for name, picture in pictures.items() if folder else ():
        with replacing(folder / name) as beside:
            Image.fromarray(picture).save(beside)
