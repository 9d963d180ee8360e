"""Layer-by-layer inference on images of any size, with exact whole-image gates.

Every layer is one sweep over the whole image in tiles with that layer's receptive field; its output is stored on disk,
and its mean is known before the next layer starts. So nothing is computed twice and no gate is approximated.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from awsrn_fast.errors import RunError
from awsrn_fast.nn import NonLocal, Stage, pooled_gates

from .pieces import Pieces
from .protocols import Network, Source
from .spans import Span, spans
from .wrappers import Placed


class Spill:
    """A map ``[1, C, H, W]`` in an anonymous temporary file, which the system removes with the last reference.

    Stored as fp32 [H, W, C]; accessed by read and write calls, since mapped pages would count as memory.
    """

    def __init__(self, height: int, width: int, channels: int, folder: str | None) -> None:
        self.height, self.width, self.channels = height, width, channels
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with the last reference

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """``[1, C, bottom - top, right - left]`` in channels_last."""
        values = np.empty((bottom - top, right - left, self.channels), np.float32)
        for row, target in enumerate(values, top):
            os.preadv(self._file.fileno(), [target.data], self._at(row, left))
        return torch.from_numpy(values).permute(2, 0, 1)[None]

    def put(self, top: int, left: int, part: Tensor) -> None:
        """Write ``part [1, C, h, w]`` with its corner at (top, left)."""
        values = part[0].permute(1, 2, 0).contiguous().numpy()
        for row, source in enumerate(values, top):
            if os.pwrite(self._file.fileno(), source.data, self._at(row, left)) < source.nbytes:
                raise OSError(28, "No space left on device", "temporary files")

    def _at(self, row: int, column: int) -> int:
        return 4 * self.channels * (row * self.width + column)


def sweep(
    model: Placed, source: Source, pieces: Pieces, on_tile: Callable[[float], None], folder: str | None = None
) -> Iterator[Tensor]:
    """The result from top to bottom in strips ``[1, 3, rows, sW]``; equals the whole image's up to rounding.

    Args:
        model: an :class:`~awsrn_fast.models.ImprovedAWSRN` or AWSRN, placed.
        source: the image.
        pieces: size of the tiles.
        on_tile: called with a tile's pixels divided by the number of sweeps.
        folder: for the activations, 4 * C bytes per pixel for each map of a part.

    Raises:
        RunError: the folder has too little free space.
    """
    network = cast("Network", model.model)
    folder = folder or tempfile.gettempdir()
    maps = max(len(part) for part in network.parts()) + 1
    needed, free = 4 * network.channels * maps * source.height * source.width, shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"exact gates need {needed / 1e9:.1f} GB for activations in {folder}, {free / 1e9:.1f} GB are free; name "
            "another folder in TMPDIR, or take frozen ones (--stats frozen)"
        )
    yield from _Sweeps(model, source, pieces, on_tile, folder).strips()


class _Pointwise:
    """A map computed on read: the output of a pointwise stage on another map."""

    def __init__(self, model: Placed, layer: Callable[[Tensor], Tensor], x: Source) -> None:
        self.model, self.layer, self.x, self.height, self.width = model, layer, x, x.height, x.width

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        return self.model.run(self.layer, self.x.window(top, bottom, left, right))


class _Sweeps:
    def __init__(
        self, model: Placed, source: Source, pieces: Pieces, on_tile: Callable[[float], None], folder: str
    ) -> None:
        self.model, self.network = model, cast("Network", model.model)
        self.source, self.pieces, self.folder = source, pieces, folder
        self.parts = self.network.parts()
        swept = sum(not self._is_pointwise(p, i) for p, part in enumerate(self.parts) for i in range(len(part)))
        self.progress = lambda pixels: on_tile(pixels / swept)

    def strips(self) -> Iterator[Tensor]:
        x: Source = self.source
        mean: Tensor | None = None
        for number in range(len(self.parts) - 1):
            x, mean = self._part(number, x, mean)
        yield from self._tail(self.parts[-1][0], x)

    def _part(self, number: int, x: Source, mean: Tensor | None) -> tuple[Source, Tensor | None]:
        maps, means = [x], [mean]
        y: Source
        for i, stage in enumerate(self.parts[number]):
            seen = [maps[j] for j in stage.reads]
            layer = self._layer(stage, seen, means)
            if self._is_pointwise(number, i):
                y, mean = _Pointwise(self.model, layer, *seen), None
            else:
                reach, align = stage.reach, 1
                if stage.non_local is not None and stage.non_local.block is not None:
                    align = stage.non_local.block
                    reach = align + 2 * stage.non_local.halo
                y, mean = self._sweep(seen, reach, layer, align)
            maps.append(y)
            means.append(mean)
        return maps[-1], means[-1]

    def _layer(self, stage: Stage, seen: list[Source], means: list[Tensor | None]) -> Callable[..., Tensor]:
        """The stage on tiles, with its gate from the means of whole maps."""
        if stage.non_local is not None and stage.non_local.block is None:
            return self._everywhere(stage.non_local, *seen)
        gate = None
        if stage.attention is not None:
            with self.model.precision():
                gate = pooled_gates(stage, [], means)
        return lambda *maps: stage.function(*maps, gate)[0]

    def _is_pointwise(self, number: int, i: int) -> bool:
        """Whether a stage is pointwise on one map, and the mean of its output is not used."""
        part, stage = self.parts[number], self.parts[number][i]
        if stage.reach or stage.non_local is not None or len(stage.reads) > 1 or stage.reads_image:
            return False
        if i + 1 < len(part):
            return not any(i + 1 in later.pools for later in part)
        return not any(0 in later.pools for later in self.parts[number + 1])

    def _everywhere(self, layer: NonLocal, x: Source) -> Callable[[Tensor], Tensor]:
        """The layer on a tile whose positions attend to the whole image; all keys and values are kept in memory."""
        parts = [
            self.model.run(layer.keys_and_values, x.window(rows.start, rows.stop, columns.start, columns.stop))
            for rows in spans(x.height, self.pieces.height, 0)
            for columns in spans(x.width, self.pieces.width, 0)
        ]
        keys, values = torch.cat(parts, dim=3).to(self.model.device)  # [1, 1, H * W, D] each
        return lambda part: layer.attend(part, keys, values)

    def _tail(self, stage: Stage, x: Source) -> Iterator[Tensor]:
        scale, radius = self.network.scale, stage.reach
        for rows in spans(x.height, self.pieces.height, radius):
            out = torch.empty(
                1, 3, scale * (rows.stop - rows.start), scale * x.width, dtype=torch.float32, device="cpu"
            )
            # By the strip, since the image may be a file that is decoded from top to bottom.
            image = self.source.window(rows.low, rows.high, 0, x.width)

            def run(down: Span, across: Span, image: Tensor = image, out: Tensor = out, rows: Span = rows) -> None:
                features = x.window(down.low, down.high, across.low, across.high)
                seen = image[:, :, down.low - rows.low : down.high - rows.low, across.low : across.high]
                y = self.model.run(lambda *maps: stage.function(*maps, None)[0], features, seen)
                top, left = scale * (down.start - rows.start), scale * across.start
                own = y[:, :, down.scaled(scale).own, across.scaled(scale).own]
                out[:, :, top : top + own.shape[2], left : left + own.shape[3]] = own
                self.progress((down.stop - down.start) * (across.stop - across.start))

            for columns in spans(x.width, self.pieces.width, radius):
                self.pieces.run(rows, columns, radius, run)
            yield out
            del image, out, run  # freed before the next is made

    def _sweep(
        self, inputs: Sequence[Source], radius: int, layer: Callable[..., Tensor], align: int = 1
    ) -> tuple[Spill, Tensor]:
        """``layer`` over the whole image: its output and the output's mean ``[1, C]``.

        Args:
            inputs: maps of the same size.
            radius: receptive radius of an output pixel.
            layer: maps ``[1, C, h, w]`` in, one out.
            align: grid that tiles and their contexts start on.
        """
        height, width, channels = self.source.height, self.source.width, self.network.channels
        out = Spill(height, width, channels, self.folder)
        total = torch.zeros(channels, dtype=torch.float64, device="cpu")

        def run(rows: Span, columns: Span) -> None:
            seen = [m.window(rows.low, rows.high, columns.low, columns.high) for m in inputs]
            own = self.model.run(layer, *seen)[:, :, rows.own, columns.own]
            out.put(rows.start, columns.start, own)
            total.add_(own.sum((0, 2, 3), dtype=torch.float64))
            self.progress(own.shape[2] * own.shape[3])

        for rows in spans(height, self.pieces.height, radius, align):
            for columns in spans(width, self.pieces.width, radius, align):
                self.pieces.run(rows, columns, radius, run)
        return out, (total / (height * width)).float()[None].to(self.model.device)
