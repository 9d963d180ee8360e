"""The network's part of every field: pixels in, larger rows out, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from torch import Tensor

import awsrn_fast
from awsrn_fast import images
from awsrn_fast.errors import RunError
from awsrn_fast.inference import Deviation, Placed, SelfEnsemble, Source, Tiler
from awsrn_fast.inference.colors import keeping_colors
from awsrn_fast.inference.consistency import Consistency
from awsrn_fast.inference.corrections import Strips, corrected
from awsrn_fast.inference.corrections import held as held_by_correction
from awsrn_fast.inference.enhance import enlarged, passes
from awsrn_fast.inference.error_model import REACH
from awsrn_fast.inference.forward_model import ForwardModel, forward_model
from awsrn_fast.inference.process_memory import OVERHEAD, fitting_tile, free_on
from awsrn_fast.inference.protocols import Pixels
from awsrn_fast.inference.tiling import Stats
from awsrn_fast.memory import show_size

from .error_map import ErrorMap
from .size import Size, shrunk


@dataclass(frozen=True)
class Settings:
    """Options for upscaling images.

    Attributes:
        tile: side of a tile, or its height and width; None: as large as fits; 0: never tile.
        stats: how the gates of a tiled image are computed, see :class:`~awsrn_fast.inference.Tiler`.
        room: bytes that an image may take, see :func:`~awsrn_fast.inference.process_memory.free`; None: unknown.
            Determined once for all images, since a process keeps the memory that it has freed.
        ceiling: bytes that the process may hold in total; None: unknown.
        max_pixels: refuse larger images.
        self_ensemble: average over flips and rotations.
        quality: encoder quality for JPEG, WebP and AVIF; None: 95, and lossless WebP stays so.
        size: output size; None: the network's factor times the input's.
        forward: how inputs were measured, for results that are consistent with them; None: they need not be.
        measured: measure the residual, too, where nothing is made consistent (of bicubic).
    """

    tile: int | tuple[int, int] | None = None
    stats: Stats = "frozen"
    room: int | None = None
    ceiling: int | None = None
    max_pixels: int = images.MAX_PIXELS
    self_ensemble: bool = False
    quality: int | None = None
    size: Size | None = None
    forward: ForwardModel | None = None
    measured: bool = False


@dataclass
class Enlarger:
    """Enlargement of the pictures of one file by one network, with one set of options.

    Attributes:
        placed: the network on its device.
        settings: options.
        advance: called with the number of input pixels done.
        parts: pictures that are enlarged of each pixel, such as a raster's bands.
        error_map: the map to write beside the result; None: none.
        tile: height and width of the tiles of the last picture; None: it went through whole.
        deviation: largest one of frozen gates so far, None if none were frozen.
        consistency: the correction, with the residuals of all pictures so far; None: there is none.
    """

    placed: Placed
    settings: Settings
    advance: Callable[[float], None] = lambda pixels: None
    parts: int = 1
    error_map: ErrorMap | None = None
    tile: tuple[int, int] | None = None
    deviation: Deviation | None = None
    consistency: Consistency | None = None
    _cut_attention: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of all rows so far."""
        said = []
        if self._cut_attention:
            said.append("attention of global span sees its tile only; --stats exact lets it see the image")
        if self.deviation is not None:
            said.append(f"gates frozen: {self.deviation}; --stats exact takes the whole image's")
        if self.consistency is not None and self.consistency.rounds:
            said.append(str(self.consistency))
        if self.error_map is not None:
            said.append(str(self.error_map))
        return tuple(said)

    @property
    def scale(self) -> int:
        """The network's factor."""
        return self.placed.facts.scale

    @cached_property
    def identity(self) -> str:
        """Hash of everything beside the input that the result's values depend on: weights, options, version."""
        found = sha256(awsrn_fast.__version__.encode())
        for name, values in sorted(self.placed.state_dict().items()):
            found.update(name.encode() + values.detach().cpu().float().numpy().tobytes())
        settings, placed = self.settings, self.placed
        forward = settings.forward and [axis.tobytes() for pair in settings.forward.factors for axis in pair]
        kind = type(placed.model).__name__, str(placed.dtype)
        found.update(repr((self.scale, kind, settings.stats, settings.self_ensemble, settings.size, forward)).encode())
        return found.hexdigest()

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result. Raises RunError where the network makes no such size."""
        scale = self.scale
        return (
            (scale * height, scale * width)
            if self.settings.size is None
            else self.settings.size.of(height, width, scale)
        )

    def rows(self, pixels: Pixels, held: int = 0, steps: int | None = None) -> Iterator[np.ndarray]:
        """The enlarged picture from top to bottom, float32 ``[rows, W, planes]``, neither clipped nor rounded.

        Args:
            pixels: the picture.
            held: bytes that its reader and the writer of the result hold.
            steps: steps in [0, 1] that the result is rounded to; None: it is not rounded.

        Raises:
            RunError: too little memory, or the network's output is not finite.
        """
        settings, before = self.settings, (pixels.height, pixels.width)
        consistency = self._consistent(steps)
        if self.error_map is not None:
            held += held_by_correction(self.scale, REACH, pixels.width)
        if consistency is not None:
            held += held_by_correction(self.scale, consistency.reach, pixels.width)
        room = None if settings.room is None else settings.room - held
        tiler = Tiler(self.placed, self._tile(pixels, room), settings.stats)
        tiler.ceiling, self.tile = settings.ceiling, tiler.tile
        runs = self.parts * passes(pixels) * (SelfEnsemble.passes if settings.self_ensemble else 1)
        tiler.on_tile = lambda done: self.advance(done / runs)
        strips = keeping_colors(self._strips(tiler), self.scale)
        if consistency is not None:
            strips = corrected(strips, self.scale, consistency.reach, consistency)
        with self._mapped(strips, before) as strips:
            rows = enlarged(pixels, strips)
            yield from shrunk(rows, (self.scale * before[0], self.scale * before[1]), self.size(*before))

    def _mapped(self, strips: Strips, size: tuple[int, int]) -> AbstractContextManager[Strips]:
        """The strips, of which the error's map is made on the way, if one is wanted."""
        return nullcontext(strips) if self.error_map is None else self.error_map.written(strips, self.scale, size)

    def _consistent(self, steps: int | None) -> Consistency | None:
        """The correction, one for all pictures of a file, so that it knows the residual of all of them."""
        if self.consistency is None and self.settings.forward is not None:
            self.consistency = Consistency(self.settings.forward, steps)
        elif self.consistency is None and self.settings.measured and self.settings.size is None:
            self.consistency = Consistency(forward_model("bicubic", self.scale), steps, rounds=0)
        return self.consistency

    def _strips(self, tiler: Tiler) -> Callable[[Source], Iterator[Tensor]]:
        def strips(source: Source) -> Iterator[Tensor]:
            if self.settings.self_ensemble:
                yield SelfEnsemble(tiler)(source.window(0, source.height, 0, source.width))
            else:
                yield from tiler.strips(source)
            in_parts = tiler.cuts(source.height, source.width) and tiler.stats != "exact"
            if in_parts and tiler.facts.non_local and tiler.facts.block is None:
                self._cut_attention = True
            found, worst = tiler.deviation, self.deviation
            if found is not None and (worst is None or found.largest > worst.largest):
                self.deviation = found

        return strips

    def _tile(self, pixels: Pixels, room: int | None) -> int | tuple[int, int] | None:
        size = (pixels.height, pixels.width)
        if self.settings.self_ensemble and room is not None:
            # The views and their sum: three results in fp32, beside the image.
            whole = size[0] * size[1] * (4 * pixels.planes + 12 + 3 * 12 * self.scale**2)
            room -= whole
            if room < OVERHEAD:
                raise RunError(
                    f"--self-ensemble holds the image and its result, {show_size(whole)}, which is more than the "
                    "memory allowed; leave it out, or raise --memory-limit"
                )
        if self.settings.tile is not None:
            return self.settings.tile or None
        return fitting_tile(self.placed.facts, size, pixels.planes, room, free_on(self.placed))
