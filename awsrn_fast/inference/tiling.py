"""Tiled inference on large images, so that memory depends on the tile, not the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from awsrn_fast.errors import is_out_of_memory

from .facts import Facts
from .gates import Census, Found, fixed, gates_of, pooled
from .pieces import Pieces
from .protocols import Model, Source
from .spans import Span, spans
from .sweeps import sweep
from .transfers import Result
from .wrappers import Placed, exact_context

TILE = 512
"""Default side of a tile in input pixels; images of up to its square are not tiled."""
REGION = 192
"""Side of the regions sampled for frozen gates."""
Stats = Literal["exact", "frozen"]


class Tensors:
    """Source in memory, ``[1, 3, H, W]``."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.height, self.width = x.shape[2:]

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        return self.x[:, :, top:bottom, left:right]


@dataclass(frozen=True)
class Deviation:
    """Difference between results with frozen gates and with the whole image's, in gray levels of 255.

    Measured on the regions that the gates were taken from, with the gates that the means over all tiles give.
    """

    largest: float
    rms: float

    def __str__(self) -> str:
        return f"at most {self.largest:.2f} and in the mean {self.rms:.2f} gray levels from exact ones"


class Tiler(Model):
    """Run ``model`` over an image in tiles; each result is cropped to the tile's own part and placed, never blended.

    Tiles start on the block grid of the non-local span, which is anchored at the image's (0, 0), and include
    ``exact_context`` beyond their own part: the full receptive field, so results equal the untiled image up to
    rounding. The improved network's channel gates are means over the whole image, so they are computed first:

    - ``stats="exact"``: layer by layer over the whole image, with the activations on disk, see
      :func:`~awsrn_fast.inference.sweeps.sweep`.
    - ``stats="frozen"``: by one run over regions that are spread evenly over the image; then all tiles share them, and
      :attr:`deviation` says what that changed.

    The result is the whole image's up to rounding (and that deviation). Only a non-local fusion of global span sees no
    more than its tile with frozen gates. If a device runs out of memory, tiles are halved and processing continues.

    Args:
        model: network ``[N, 3, H, W] -> [N, 3, sH, sW]`` with ``facts`` (scale, receptive_field, block, halo).
        tile: side of a tile in input pixels, or its height and width; None: never tile.
        stats: how gates are computed.
        context: input pixels beyond a tile; None: ``exact_context``. Less is faster and leaves seams.
        spill: folder for the activations of ``stats="exact"``; None: the system's for temporary files.
    """

    facts: Facts

    def __init__(
        self,
        model: Model,
        tile: int | tuple[int, int] | None = TILE,
        stats: Stats = "frozen",
        context: int | None = None,
        spill: str | None = None,
    ):
        super().__init__()
        self.model, self.stats, self.spill = model, stats, spill
        self.tile = (tile, tile) if isinstance(tile, int) else tile
        self.facts = model.facts
        self.context = exact_context(self.facts) if context is None else context
        self.on_tile: Callable[[float], None] = lambda pixels: None
        """Called after each tile with the number of input pixels done."""
        self.ceiling: int | None = None
        """Bytes that the process may hold: near them, freed memory that malloc keeps is given back before a tile."""
        self.deviation: Deviation | None = None
        """Deviation of the last image that was upscaled with frozen gates."""

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``, fp32, on x's device."""
        n, _, height, width = x.shape
        if not self.cuts(height, width):
            y = self.model(x)
            self.on_tile(height * width)
            return y
        size = (n, 3, self.facts.scale * height, self.facts.scale * width)
        out = torch.empty(size, dtype=torch.float32, device=x.device)
        for image in range(n):
            top = 0
            for strip in self.strips(Tensors(x[image : image + 1])):
                out[image, :, top : top + strip.shape[2]] = strip[0]
                top += strip.shape[2]
        return out

    def cuts(self, height: int, width: int) -> bool:
        """Whether an image of this size is tiled."""
        return self.tile is not None and height * width > self.tile[0] * self.tile[1]

    def tiles(self, height: int, width: int) -> Iterator[tuple[Span, Span]]:
        """Rows and columns of each tile of an image of this size, which is tiled."""
        assert self.tile is not None
        align = self.facts.block or 1
        for rows in spans(height, self.tile[0], self.context, align):
            for columns in spans(width, self.tile[1], self.context, align):
                yield rows, columns

    def strips(self, source: Source) -> Iterator[Tensor]:
        """The result from top to bottom, in strips ``[1, 3, rows, sW]``, fp32."""
        height, width = source.height, source.width
        self.deviation = None
        tile = self.tile
        if not self.cuts(height, width):
            try:
                with torch.no_grad():
                    y = self.model(source.window(0, height, 0, width))
            except (MemoryError, RuntimeError) as error:
                tile = self._after(error, height, width)
            else:
                self.on_tile(height * width)
                yield y
                return
        assert tile is not None
        pieces = Pieces(*tile, self.facts.block or 1, getattr(self.facts, "activations", 0), self.ceiling)
        if not pooled(self.model):
            yield from self._strips(source, pieces, None)
        elif self.stats == "exact":
            assert isinstance(self.model, Placed)
            yield from sweep(self.model, source, pieces, self.on_tile, self.spill)
        else:
            regions, gates = self._frozen(source, pieces)
            census = Census(gates)
            yield from self._strips(source, pieces, census)
            self.deviation = self._deviation(regions, gates, census)

    def _after(self, error: Exception, height: int, width: int) -> tuple[int, int]:
        """Tile size for an image that did not fit whole."""
        align = self.facts.block or 1
        if not is_out_of_memory(error) or max(height, width) <= align:
            raise error
        down, across = (max(align, side // 2 // align * align) for side in (height, width))
        return down, across

    def _strips(self, source: Source, pieces: Pieces, census: Census | None) -> Iterator[Tensor]:
        for rows in spans(source.height, pieces.height, self.context, pieces.align):
            strip = _Strip(self, source, rows, census)
            for columns in spans(source.width, pieces.width, self.context, pieces.align):
                pieces.run(rows, columns, self.context, strip.run)
            strip.finish()
            yield strip.out
            del strip  # freed before the next is made

    @torch.no_grad()
    def _frozen(self, source: Source, pieces: Pieces) -> tuple[Tensor, Found]:
        """Sample regions with as many pixels as a tile, and the gates of one forward over them."""
        pixels = (pieces.height + 2 * self.context) * (pieces.width + 2 * self.context)
        while True:
            regions = torch.cat(
                [
                    source.window(top, top + side_down, left, left + side_across)
                    for top, side_down, left, side_across in places(source.height, source.width, pixels)
                ]
            )
            try:
                return regions, gates_of(self.model, regions)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or pixels <= 32 * 32:
                    raise
            pixels //= 2

    @torch.no_grad()
    def _deviation(self, regions: Tensor, used: Found, census: Census) -> Deviation:
        largest = squares = 0.0
        both = [fixed(found) for found in (used, census.found(self.model))]
        for region in regions.split(1):
            with_used, with_exact = (self.model(region, gates=gates).clamp(0, 1) for gates in both)
            difference = 255 * (with_used - with_exact)
            largest = max(largest, difference.abs().max().item())
            squares += difference.square().mean().item() / len(regions)
        return Deviation(largest, math.sqrt(squares))


class _Strip:
    """A strip of the result, filled tile by tile. Where the network's runs overlap, one is under way while the next is
    begun."""

    def __init__(self, tiler: Tiler, source: Source, rows: Span, census: Census | None) -> None:
        self._tiler, self._rows, self._census, self._scale = tiler, rows, census, tiler.facts.scale
        self._seen = source.window(rows.low, rows.high, 0, source.width)
        size = (1, 3, self._scale * (rows.stop - rows.start), self._scale * source.width)
        self.out = torch.empty(size, dtype=torch.float32, device="cpu")
        self._under_way: tuple[Span, Span, Result] | None = None

    def run(self, down: Span, across: Span) -> None:
        """Compute the tile of these rows and columns."""
        model, census, first = self._tiler.model, self._census, self._rows.low
        seen = self._seen[:, :, down.low - first : down.high - first, across.low : across.high]
        with torch.no_grad(), nullcontext() if census is None else census.counting(down, across):
            if isinstance(model, Placed) and model.overlaps:
                begun = model.begin(seen, census)
            else:
                self._place(down, across, model(seen) if census is None else model(seen, gates=census))
                return
        self.finish()
        self._under_way = (down, across, begun)

    def finish(self) -> None:
        """Wait for the tile that is under way, if one is."""
        if self._under_way is not None:
            down, across, result = self._under_way
            self._under_way = None
            self._place(down, across, result())

    def _place(self, down: Span, across: Span, y: Tensor) -> None:
        scale = self._scale
        top, left = scale * (down.start - self._rows.start), scale * across.start
        own = y[:, :, down.scaled(scale).own, across.scaled(scale).own]
        self.out[:, :, top : top + own.shape[2], left : left + own.shape[3]] = own
        self._tiler.on_tile((down.stop - down.start) * (across.stop - across.start))


def places(height: int, width: int, pixels: int) -> list[tuple[int, int, int, int]]:
    """Regions of at most ``pixels`` spread evenly over an image: (top, height, left, width), from top to bottom."""
    side = min(REGION, math.isqrt(pixels))
    down, across = min(side, height), min(side, width)
    count = max(1, pixels // (down * across))
    most_down, most_across = math.ceil(height / down), math.ceil(width / across)
    rows = min(most_down, max(1, round(math.sqrt(count * most_down / most_across))))
    columns = min(most_across, max(1, count // rows))
    rows = min(most_down, max(1, count // columns))
    return [
        (top, down, left, across) for top in _evenly(height - down, rows) for left in _evenly(width - across, columns)
    ]


def _evenly(room: int, count: int) -> list[int]:
    return [room // 2] if count == 1 else [round(i * room / (count - 1)) for i in range(count)]
