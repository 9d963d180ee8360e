"""``python -m awsrn_fast.upscale``: upscaling of image files and folders with a trained network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch

import awsrn_fast
from awsrn_fast import backends, cli, images
from awsrn_fast.arguments import Parser, real, whole, wrong_usage
from awsrn_fast.bundled import default_for, weights_table
from awsrn_fast.commands import spelled
from awsrn_fast.devices import DTYPES, dtype_name, pick_dtype
from awsrn_fast.errors import RunError, UserError, is_out_of_memory
from awsrn_fast.inference import Placed, with_local_means
from awsrn_fast.inference.process_memory import ceiling, free, peak
from awsrn_fast.memory import parse_size, show_size
from awsrn_fast.models import SCALES, SuperResolution
from awsrn_fast.remarks import say_if_slow, say_licences

from .image import Settings, upscale_image
from .pipes import piped
from .plan import SUFFIXES, Job, plan
from .progress import Report
from .shard import Shard, pick_own_device, pick_shard, together
from .size import Size

DEFAULT_SCALE = 4

EPILOG = """
Gray stays gray, alpha stays alpha, 16 bits stay 16 bits; EXIF orientation is applied and the colour profile kept.
Palette, 1-bit and CMYK images are converted, with a remark. Animated images and TIFF with several pages are refused.
Formats: PNG, JPEG, WebP, TIFF, BMP, AVIF, and HEIC with the package pillow-heif. Resolution (pixels an inch) grows with
the picture, XMP, IPTC and texts are kept where the format has a place for them; what is left out is said. Measurements
(TIFF with one channel of 16 bits, signed or floating samples) keep their range of values. Exit status: 0 all done, 1
some images failed (the others are done), 2 wrong usage (nothing done), 130 interrupted. No file is ever left
half-written.
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser("upscale", description="Upscale image files with a trained network.", epilog=EPILOG)
    p.add_argument("inputs", nargs="*", metavar="IN",
                   help="image files, or folders (with all that lies below, but not linked folders); - is standard "
                        "input")  # fmt: skip
    p.add_argument("-i", "--input", nargs="+", action="extend", default=[], dest="more", metavar="IN",
                   help="the same, for who is used to it")  # fmt: skip
    p.add_argument("-o", "--out", "--output", metavar="OUT",
                   help="file for one image; folder for several images or a folder (made if missing); - is standard "
                        "output (default: beside each input, photo.jpg to photo_x4.jpg)")  # fmt: skip
    p.add_argument("-s", "--scale", type=int, choices=SCALES,
                   help=f"upscaling factor of the network, which chooses its weights (default: {DEFAULT_SCALE}, or the "
                        "smallest that --outscale fits in)")  # fmt: skip
    p.add_argument("--weights", metavar="W",
                   help="weights file (.safetensors, or .pth of the public code) or a bundled name (default: "
                        "improved-s of the scale)")  # fmt: skip
    p.add_argument("--list-weights", action="store_true",
                   help="print the bundled weights with scale, PSNR and licence of their data, and end")  # fmt: skip
    p.add_argument("--outscale", type=real(0.01), metavar="X",
                   help="make results X times as large as the inputs, such as 3.5: by the network, and from there down "
                        "by Lanczos resampling")  # fmt: skip
    p.add_argument("--width", type=whole(1), metavar="N",
                   help="make results N pixels wide in the same way, and the height in proportion")  # fmt: skip
    p.add_argument("--height", type=whole(1), metavar="N", help="make results N pixels high")
    p.add_argument("--memory-limit", type=parse_size, metavar="SIZE",
                   help="what the process may hold, such as 2GB; images that take more go through in tiles (default: "
                        "three quarters of what is free)")  # fmt: skip
    p.add_argument("--tile", type=whole(0), metavar="N",
                   help="side of a tile in input pixels, 0: never tile; images of up to NxN pixels go through whole "
                        "(default: as large as the memory allows)")  # fmt: skip
    p.add_argument("--stats", choices=("frozen", "exact", "local"), default="frozen",
                   help="gates of a tiled image: frozen takes them from one run over regions spread over it, and says "
                        "how much that changes; exact takes them from the whole image, layer by layer, with up to "
                        "1 KB a pixel in temporary files (TMPDIR); local, tiled or not, takes them from 48x48 pixels "
                        "around each: 2.4 times the work (default: %(default)s)")  # fmt: skip
    p.add_argument(
        "--device", default="auto", metavar="D", help="cpu, cuda, cuda:1, ... (default: cuda if there is one)"
    )
    p.add_argument("--dtype", type=dtype_name, choices=tuple(DTYPES), default="float32",
                   help="arithmetic of the network; the 16-bit types are faster where the hardware has them, and "
                        "less precise: differences of a gray level; fp32, bf16 and fp16 "
                        "are the same (default: %(default)s)")  # fmt: skip
    p.add_argument("--backend", type=backends.current_name, choices=("auto", *backends.NAMES), default="auto",
                   help="kernels to run on (default: the best of each op; "
                        f"see {spelled('info')})")  # fmt: skip
    p.add_argument("--self-ensemble", action="store_true",
                   help="average over 8 flips and quarter turns: a little better, 8 times the work")  # fmt: skip
    exists = p.add_mutually_exclusive_group()
    exists.add_argument("--overwrite", action="store_true", help="replace outputs that exist (never an input)")
    exists.add_argument("--resume", action="store_true", help="leave out images whose outputs exist")
    p.add_argument("--shard", metavar="I/N",
                   help="do the I-th of N parts of the images, so that N processes or machines share the work; "
                        "torchrun's processes do this by themselves")  # fmt: skip
    p.add_argument("--format", choices=sorted(SUFFIXES), help="write this format (default: that of each input)")
    p.add_argument("--quality", type=whole(1, 100), metavar="Q",
                   help="of JPEG, WebP and AVIF, 1 to 100; WebP is lossless at 100 (default: 95, and lossless WebP "
                        "stays lossless)")  # fmt: skip
    p.add_argument("--max-pixels", type=whole(1), default=images.MAX_PIXELS, metavar="N",
                   help="refuse inputs with more pixels than this (default: %(default)s)")  # fmt: skip
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage, before any computation."""
    args = parser().parse_args(argv)
    if args.list_weights:
        cli.results.print(weights_table())
        return 0
    args.inputs += args.more
    if not args.inputs:
        raise UserError(wrong_usage("no image is named", spelled("upscale")))
    args.size = _size(args)
    shard = pick_shard(args.shard)
    with piped(args.inputs, args.out, args.format) as (inputs, out):
        ending = (args.size.ending if args.size else f"_x{_scale(args)}") if out is None else ""
        jobs = plan(inputs, out, args.format, args.overwrite or args.resume, shard.part, _say, ending)
        todo = [job for job in jobs if job.problem or not (args.resume and os.path.exists(job.target))]
        status = _run(args, todo, _remark(len(jobs) - len(todo), shard))
    return together(status)


def _size(args: argparse.Namespace) -> Size | None:
    """The requested output size; None: the network's scale."""
    if args.outscale is not None and (args.width or args.height):
        raise UserError("--outscale and --width or --height each say how large results are: give one")
    if args.outscale is None and not (args.width or args.height):
        return None
    if args.outscale is not None and args.outscale > max(SCALES):
        raise UserError(f"--outscale {args.outscale:g}: the networks make up to x{max(SCALES)}; upscale again")
    return Size(args.outscale, args.width, args.height)


def _weights(args: argparse.Namespace) -> str:
    """Name or file of the weights; by default the bundled ones for the scale."""
    if args.weights is not None:
        return args.weights
    fitting = [scale for scale in SCALES if scale >= args.outscale] if args.outscale else [DEFAULT_SCALE]
    return default_for(args.scale or fitting[0])


def _scale(args: argparse.Namespace) -> int:
    return awsrn_fast.load(_weights(args)).facts.scale


def _model(args: argparse.Namespace) -> SuperResolution:
    name = _weights(args)
    model = awsrn_fast.load(name)
    scale = model.facts.scale
    if args.scale not in (None, scale):
        raise UserError(f"--weights {name} is for x{scale}: leave out --scale {args.scale}, or take other weights")
    if args.outscale is not None and args.outscale > scale:
        raise UserError(f"--outscale {args.outscale:g}: the network makes x{scale}; give a larger --scale")
    if args.weights is None:
        say_licences(name)
    return model.fuse()


def _say(text: str) -> None:
    cli.console.print(text)


def _run(args: argparse.Namespace, jobs: list[Job], remark: str) -> int:
    device = pick_own_device(args.device)
    say_if_slow(device)
    model = _model(args)
    placed = Placed(with_local_means(model) if args.stats == "local" else model, device, pick_dtype(args.dtype, device))
    room = free(args.memory_limit)
    stats = "exact" if args.stats == "exact" else "frozen"
    most = ceiling(args.memory_limit)
    settings = Settings(args.tile, stats, room, most, args.max_pixels, args.self_ensemble, args.quality, args.size)
    sizes = [_pixels_or_none(job, args.max_pixels) for job in jobs]
    with Report(cli.console, sizes, placed.facts.scale) as report, backends.use_backend(args.backend):
        for job in jobs:
            report.begin(job)
            try:
                before, after, remarks = upscale_image(job, placed, settings, report.advance)
            except UserError as error:
                report.failed(str(error))
            except backends.BackendError as error:
                raise UserError(f"--backend {args.backend}: {error}") from error
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                report.failed(f"{job.source}: out of memory with the smallest tiles; give a smaller --memory-limit")
            else:
                report.done(job, before.size, after.size, remarks)
    report.remark = _peak(device) + remark
    return report.close()


def _remark(skipped: int, shard: Shard) -> str:
    remark = f"; {skipped} were there before" if skipped else ""
    return remark + (f" (part {shard})" if shard.count > 1 else "")


def _peak(device: torch.device) -> str:
    most = peak()
    said = "" if most is None else f", peak memory {show_size(most)}"
    if device.type == "cuda":
        said += f", on {device} {show_size(torch.cuda.max_memory_allocated(device))}"
    return said


def _pixels_or_none(job: Job, max_pixels: int) -> int:
    if job.problem:
        return 0
    try:
        return images.pixels(job.source, max_pixels)
    except RunError:
        return 0  # reported when it is processed
