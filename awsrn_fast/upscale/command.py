"""``python -m awsrn_fast.upscale``: upscaling of image files and folders with a trained network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

import awsrn_fast
from awsrn_fast import backends, cli, images
from awsrn_fast.arguments import wrong_usage
from awsrn_fast.bundled import default_for, weights_table
from awsrn_fast.commands import spelled
from awsrn_fast.devices import pick_dtype
from awsrn_fast.errors import RunError, UserError, is_out_of_memory
from awsrn_fast.inference import Placed, with_local_means
from awsrn_fast.inference.forward_model import forward_model
from awsrn_fast.inference.process_memory import ceiling, free, peak
from awsrn_fast.inference.tiling import Stats
from awsrn_fast.memory import show_size
from awsrn_fast.models import SCALES, SuperResolution
from awsrn_fast.remarks import say_if_slow, say_licences

from .enlarger import Enlarger, Settings
from .error_map import ErrorMap, error_model, map_files
from .fields import IMAGE, Result
from .image import upscale_image
from .kernel_file import read_kernel
from .options import DEFAULT_SCALE, parser
from .pipes import piped
from .plan import Job, plan
from .progress import Report
from .record import Record, check_report
from .shard import Shard, pick_own_device, pick_shard, together
from .size import Size


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage, before any computation."""
    args = parser().parse_args(argv)
    if args.list_weights:
        cli.results.print(weights_table())
        return 0
    args.inputs += args.more
    if not args.inputs:
        raise UserError(wrong_usage("no image is named", spelled("upscale")))
    args.size = requested_size(args)
    kernel = _kernel(args)
    if args.error_map and args.size:
        raise UserError("--error-map is of the network's whole scale: leave out --outscale, --width and --height")
    shard = pick_shard(args.shard)
    if args.report:
        check_report(args.report, shard.count > 1 and args.shard is None, args.overwrite)
    with piped(args.inputs, args.out, args.format) as (inputs, out):
        ending = (args.size.ending if args.size else f"_x{_scale(args)}") if out is None else ""
        jobs = plan(inputs, out, args.format, args.overwrite or args.resume, shard.part, _say, ending)
        todo = [job for job in jobs if job.problem or not (args.resume and os.path.exists(job.target))]
        status = _run(args, todo, _remark(len(jobs) - len(todo), shard), kernel)
    return together(status)


def requested_size(args: argparse.Namespace) -> Size | None:
    """The requested output size; None: the network's scale."""
    if args.outscale is not None and (args.width or args.height):
        raise UserError("--outscale and --width or --height each say how large results are: give one")
    if args.outscale is None and not (args.width or args.height):
        return None
    if args.outscale is not None and args.outscale > max(SCALES):
        raise UserError(f"--outscale {args.outscale:g}: the networks make up to x{max(SCALES)}; upscale again")
    return Size(args.outscale, args.width, args.height)


def _kernel(args: argparse.Namespace) -> str | np.ndarray | None:
    """The kernel that results are to be consistent with; None: they need not be."""
    if not args.consistent:
        if args.kernel is not None:
            raise UserError("--kernel says what --consistent is about: give both, or neither")
        return None
    if args.size is not None:
        raise UserError("--consistent is about the network's whole scale: leave out --outscale, --width and --height")
    return read_kernel(args.kernel or "bicubic")


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


def prepare(args: argparse.Namespace, kernel: str | np.ndarray | None) -> tuple[Placed, Settings]:
    """The network on its device, and the settings, as the arguments ask."""
    device = pick_own_device(args.device)
    say_if_slow(device)
    model = _model(args)
    placed = Placed(with_local_means(model) if args.stats == "local" else model, device, pick_dtype(args.dtype, device))
    room = free(args.memory_limit)
    stats: Stats = "exact" if args.stats == "exact" else "frozen"
    most = ceiling(args.memory_limit)
    settings = Settings(args.tile, stats, room, most, args.max_pixels, args.self_ensemble, args.quality, args.size)
    if kernel is not None:
        settings = replace(settings, forward=forward_model(kernel, placed.facts.scale))
    settings = replace(settings, measured=args.report is not None)
    return placed, settings


def _run(args: argparse.Namespace, jobs: list[Job], remark: str, kernel: str | np.ndarray | None) -> int:
    placed, settings = prepare(args, kernel)
    maps = map_files(args.error_map, jobs, args.overwrite) if args.error_map else {}
    model = error_model(_weights(args), placed.facts.scale) if maps else None
    sizes = [_pixels_or_none(job, args.max_pixels) for job in jobs]
    wanted = str(args.size or "")
    with Report(cli.console, sizes, placed.facts.scale, wanted=wanted) as report, backends.use_backend(args.backend):
        record = Record(args, _weights(args), placed, kernel) if args.report else None
        for job in jobs:
            report.begin(job)
            made = None if model is None else ErrorMap(maps[job.target], model, _weights(args))
            enlarger = Enlarger(placed, settings, report.advance, error_map=made)
            try:
                if record is not None:
                    record.begin(job)
                before, after, remarks = enlarge(job, enlarger, args)
            except UserError as error:
                _failed(str(error), report, record)
            except backends.BackendError as error:
                raise UserError(f"--backend {args.backend}: {error}") from error
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                _failed(
                    f"{job.source}: out of memory with the smallest tiles; give a smaller --memory-limit",
                    report,
                    record,
                )
            else:
                report.done(job, before, after, remarks)
                if record is not None:
                    record.done(job, before, after, enlarger, args.stats)
        if record is not None:
            record.write()
            cli.console.print(f"written: {record.path} and {record.path.with_suffix('.html').name}")
    report.remark = _peak(placed.device) + remark
    return report.close()


def _failed(message: str, report: Report, record: Record | None) -> None:
    report.failed(message)
    if record is not None:
        record.failed(message)


def enlarge(job: Job, enlarger: Enlarger, args: argparse.Namespace) -> Result:
    """Read, upscale and write one file of any field."""
    if job.problem:
        raise RunError(f"{job.source}: {job.problem}")
    if job.field is IMAGE:
        return upscale_image(job, enlarger)
    return job.field.module.upscale(job.source, job.target, enlarger, args, job.peers)


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
        return (images if job.field is IMAGE else job.field.module).pixels(job.source, max_pixels)
    except RunError:
        return 0  # reported when it is processed
