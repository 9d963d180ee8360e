"""Upscaling of one image file to another, in bounded memory where the formats allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from awsrn_fast import images
from awsrn_fast.errors import RunError
from awsrn_fast.inference import Placed, SelfEnsemble, Source, Tiler
from awsrn_fast.inference.colors import keeping_colors
from awsrn_fast.inference.consistency import Consistency
from awsrn_fast.inference.corrections import corrected, held
from awsrn_fast.inference.enhance import enlarged, passes
from awsrn_fast.inference.forward_model import ForwardModel
from awsrn_fast.inference.process_memory import OVERHEAD, fitting_tile, free_on
from awsrn_fast.inference.tiling import Stats
from awsrn_fast.memory import show_size

from .plan import Job
from .size import Size, shrunk

ARTEFACTS_BELOW = 80
"""JPEG quality below which compression artefacts are visible in the result."""
FOR_ARTEFACTS = ""
"""Name of the bundled weights that remove them; empty: there are none."""


@dataclass(frozen=True)
class Settings:
    """Options for upscaling images.

    Attributes:
        tile: side of a tile; None: as large as fits; 0: never tile.
        stats: how the gates of a tiled image are computed, see :class:`~awsrn_fast.inference.Tiler`.
        room: bytes that an image may take, see :func:`~awsrn_fast.inference.process_memory.free`; None: unknown.
            Determined once for all images, since a process keeps the memory that it has freed.
        ceiling: bytes that the process may hold in total; None: unknown.
        max_pixels: refuse larger images.
        self_ensemble: average over flips and rotations.
        quality: encoder quality for JPEG, WebP and AVIF; None: 95, and lossless WebP stays so.
        size: output size; None: the network's factor times the input's.
        forward: how inputs were measured, for results that are consistent with them; None: they need not be.
    """

    tile: int | None = None
    stats: Stats = "frozen"
    room: int | None = None
    ceiling: int | None = None
    max_pixels: int = images.MAX_PIXELS
    self_ensemble: bool = False
    quality: int | None = None
    size: Size | None = None
    forward: ForwardModel | None = None


class _Pixels:
    """Adapter from an image reader to the pixels to upscale."""

    def __init__(self, reader: images.Reader) -> None:
        header = reader.header
        self.height, self.width, self.planes = header.height, header.width, header.planes
        self.window: Callable[..., np.ndarray] = reader.window


def upscale_image(
    job: Job, placed: Placed, settings: Settings, advance: Callable[[float], None]
) -> tuple[images.Header, images.Header, tuple[str, ...]]:
    """Read, upscale and write one image.

    Args:
        job: input and output file.
        placed: the network on its device.
        settings: options.
        advance: called with the number of input pixels done.

    Returns:
        Header of the input, header of the output, remarks for the user.

    Raises:
        RunError: input that :mod:`awsrn_fast.images` refuses, or too little memory. Nothing is written then.
    """
    if job.problem:
        raise RunError(f"{job.source}: {job.problem}")
    room = settings.room
    with images.reader(job.source, settings.max_pixels, room) as reader:
        header, scale = reader.header, placed.facts.scale
        larger = header.scaled(scale)
        if settings.size is not None:
            larger = header.sized(*_size(job, header, settings.size, scale))
        images.check_writable(job.target, larger)
        consistency = _consistency(settings.forward, header)
        if room is not None and consistency is not None:
            room -= held(scale, consistency.reach, header.width)
        if room is not None:
            room -= reader.resident + images.held(job.target, larger)
        pixels = _Pixels(reader)
        try:
            tiler = Tiler(placed, _tile(header, placed, settings, room), settings.stats)
            tiler.ceiling = settings.ceiling
            runs = passes(pixels) * (SelfEnsemble.passes if settings.self_ensemble else 1)
            tiler.on_tile = lambda done: advance(done / runs)
            remarks: dict[str, None] = {}
            with images.writer(job.target, larger, settings.quality) as out:
                strips = keeping_colors(_strips(tiler, settings, remarks), scale)
                if consistency is not None:
                    strips = corrected(strips, scale, consistency.reach, consistency)
                rows = enlarged(pixels, strips)
                for part in shrunk(rows, header.scaled(scale).size, larger.size):
                    out.write(part)
        except RunError as error:
            raise RunError(str(error) if str(job.target) in str(error) else f"{job.source}: {error}") from error
    if consistency is not None:
        remarks[str(consistency)] = None
    return header, larger, _remarks(job, header) + tuple(remarks)


def _consistency(forward: ForwardModel | None, header: images.Header) -> Consistency | None:
    if forward is None:
        return None
    top = int(header.samples.high) if header.samples.natural else None
    return Consistency(forward, top)


def _size(job: Job, header: images.Header, size: Size, scale: int) -> tuple[int, int]:
    try:
        return size.of(header.height, header.width, scale)
    except RunError as error:
        raise RunError(f"{job.source}: {error}") from error


def _strips(tiler: Tiler, settings: Settings, remarks: dict[str, None]) -> Callable[[Source], Iterator[Tensor]]:
    def strips(source: Source) -> Iterator[Tensor]:
        if settings.self_ensemble:
            yield SelfEnsemble(tiler)(source.window(0, source.height, 0, source.width))
        else:
            yield from tiler.strips(source)
        in_parts = tiler.cuts(source.height, source.width) and tiler.stats != "exact"
        if in_parts and tiler.facts.non_local and tiler.facts.block is None:
            remarks["attention of global span sees its tile only; --stats exact lets it see the image"] = None
        if tiler.deviation is not None:
            remarks[f"gates frozen: {tiler.deviation}; --stats exact takes the whole image's"] = None

    return strips


def _tile(header: images.Header, placed: Placed, settings: Settings, room: int | None) -> int | tuple[int, int] | None:
    if settings.self_ensemble and room is not None:
        # The views and their sum: three results in fp32, beside the image.
        whole = header.height * header.width * (4 * header.planes + 12 + 3 * 12 * placed.facts.scale**2)
        room -= whole
        if room < OVERHEAD:
            raise RunError(
                f"--self-ensemble holds the image and its result, {show_size(whole)}, which is more than the memory "
                "allowed; leave it out, or raise --memory-limit"
            )
    if settings.tile is not None:
        return settings.tile or None
    return fitting_tile(placed.facts, header.size, header.planes, room, free_on(placed))


def _remarks(job: Job, header: images.Header) -> tuple[str, ...]:
    format = images.FORMATS[job.target.suffix.lower()]
    remarks = list(header.notes)
    if images.FORMATS.get(job.source.suffix.lower(), header.format) != header.format:
        remarks.append(f"{header.format} inside, written as {format}")
    if header.quality is not None and header.quality < ARTEFACTS_BELOW:
        weights = f": {FOR_ARTEFACTS} is trained for that" if FOR_ARTEFACTS else ""
        remarks.append(f"JPEG of quality {header.quality}, whose artefacts are enlarged too{weights}")
    return (*remarks, *images.not_kept(header, format))
