"""The options of ``python -m awsrn_fast.upscale``."""

from __future__ import annotations

import argparse
from pathlib import Path

from awsrn_fast import backends, images
from awsrn_fast.arguments import Parser, real, whole
from awsrn_fast.commands import spelled
from awsrn_fast.devices import DTYPES, dtype_name
from awsrn_fast.inference.forward_model import KERNELS
from awsrn_fast.memory import parse_size
from awsrn_fast.models import SCALES
from awsrn_fast.raster import options as raster
from awsrn_fast.video import options as video

from .plan import SUFFIXES

DEFAULT_SCALE = 4

EPILOG = """
Gray stays gray, alpha stays alpha, 16 bits stay 16 bits; EXIF orientation is applied and the colour profile kept.
Palette, 1-bit and CMYK images are converted, with a remark. Animated images and TIFF with several pages are refused.
Formats: PNG, JPEG, WebP, TIFF, BMP, AVIF, and HEIC with the package pillow-heif. Resolution (pixels per inch) is scaled
with the image; XMP, IPTC and texts are kept where the format can store them; remarks name what is left out.
Measurements (TIFF with one channel of 16 bits, signed or floating samples) keep their range of values. Exit status: 0
all done, 1 some images failed (the others are done), 2 wrong usage (nothing done), 130 interrupted. No file is ever
left half-written.
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser("upscale", description="Upscale image files with a trained network.", epilog=EPILOG)
    _add_files(p)
    _add_network(p)
    _add_size(p)
    _add_tiles(p)
    _add_computation(p)
    _add_consistency(p)
    _add_error_map(p)
    _add_several(p)
    _add_format(p)
    raster.add_options(p)
    video.add_options(p)
    return p


def _add_files(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "inputs",
        nargs="*",
        metavar="IN",
        help="image files, or folders (with all that lies below, but not linked folders); - is standard input",
    )
    p.add_argument(
        "-i",
        "--input",
        nargs="+",
        action="extend",
        default=[],
        dest="more",
        metavar="IN",
        help="the same as IN, for compatibility with other upscalers",
    )
    p.add_argument(
        "-o",
        "--out",
        "--output",
        metavar="OUT",
        help="file for one image; folder for several images or a folder (made if missing); - is standard output "
        "(default: beside each input, photo.jpg to photo_x4.jpg)",
    )


def _add_network(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "-s",
        "--scale",
        type=int,
        choices=SCALES,
        help=f"upscaling factor of the network, which chooses its weights (default: {DEFAULT_SCALE}, or the smallest "
        "that --outscale fits in)",
    )
    p.add_argument(
        "--weights",
        metavar="W",
        help="weights file (.safetensors, or .pth of the public code) or a bundled name (default: improved-s of the "
        "scale)",
    )
    p.add_argument(
        "--list-weights",
        action="store_true",
        help="print the bundled weights with scale, PSNR and licence of their data, and end",
    )


def _add_size(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--outscale",
        type=real(0.01),
        metavar="X",
        help="make results X times as large as the inputs, such as 3.5: by the network, and from there down by Lanczos "
        "resampling",
    )
    p.add_argument(
        "--width",
        type=whole(1),
        metavar="N",
        help="make results N pixels wide in the same way, and the height in proportion",
    )
    p.add_argument("--height", type=whole(1), metavar="N", help="make results N pixels high")


def _add_tiles(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--memory-limit",
        type=parse_size,
        metavar="SIZE",
        help="most memory of the process, such as 2GB; images that take more are processed in tiles (default: three "
        "quarters of what is free)",
    )
    p.add_argument(
        "--tile",
        type=whole(0),
        metavar="N",
        help="side of a tile in input pixels, 0: never tile; images of up to NxN pixels are processed whole "
        "(default: as large as the memory allows)",
    )
    p.add_argument(
        "--stats",
        choices=("frozen", "exact", "local"),
        default="frozen",
        help="gates of a tiled image: frozen takes them from one run over regions spread over it, and says how much "
        "that changes; exact takes them from the whole image, layer by layer, with up to 1 KB per pixel in temporary "
        "files (TMPDIR); local, tiled or not, takes them from 48x48 pixels around each: 2.4 times the work "
        "(default: %(default)s)",
    )


def _add_computation(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="cpu, cuda, cuda:1, ... (default: cuda if there is one)",
    )
    p.add_argument(
        "--dtype",
        type=dtype_name,
        choices=tuple(DTYPES),
        default="float32",
        help="arithmetic of the network; the 16-bit types are faster where the hardware has them, and less precise: "
        "differences of a gray level; fp32, bf16 and fp16 are accepted as short names (default: %(default)s)",
    )
    p.add_argument(
        "--backend",
        type=backends.current_name,
        choices=("auto", *backends.NAMES),
        default="auto",
        help=f"kernels to run on (default: the best of each op; see {spelled('info')})",
    )
    p.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over 8 flips and rotations: slightly better, 8 times the computation",
    )


def _add_consistency(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--consistent",
        action="store_true",
        help="change the result as little as needed so that, shrunk by --kernel, it is the input again; says how far "
        "it was off before and is after (in gray levels: root mean square, and the largest)",
    )
    p.add_argument(
        "--kernel",
        metavar="K",
        help=f"how the input was measured: {', '.join(KERNELS)}, or a file of numbers (.npy, or text with a row a "
        "line), in pixels of the result (default: bicubic, which is MATLAB's)",
    )


def _add_error_map(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--error-map",
        type=Path,
        metavar="PATH",
        help="write an estimate of each pixel's absolute error: .tif in gray levels, .png as a picture from black to "
        "white; a folder for several images",
    )


def _add_several(p: argparse.ArgumentParser) -> None:
    exists = p.add_mutually_exclusive_group()
    exists.add_argument("--overwrite", action="store_true", help="replace outputs that exist (never an input)")
    exists.add_argument("--resume", action="store_true", help="leave out images whose outputs exist")
    p.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a record of the run here (.json, and a page beside it): SHA-256 of inputs, weights and results, "
        f"versions, machine, kernels, options, residual, time and memory; {spelled('replay')} FILE runs it again",
    )
    p.add_argument(
        "--shard",
        metavar="I/N",
        help="do the I-th of N parts of the images, so that N processes or machines share the work; torchrun's "
        "processes do this by themselves",
    )


def _add_format(p: argparse.ArgumentParser) -> None:
    p.add_argument("--format", choices=sorted(SUFFIXES), help="write this format (default: that of each input)")
    p.add_argument(
        "--quality",
        type=whole(1, 100),
        metavar="Q",
        help="encoder quality of JPEG, WebP and AVIF, 1 to 100; WebP is lossless at 100 (default: 95, and lossless "
        "WebP stays lossless)",
    )
    p.add_argument(
        "--max-pixels",
        type=whole(1),
        default=images.MAX_PIXELS,
        metavar="N",
        help="refuse inputs with more pixels than this (default: %(default)s)",
    )
