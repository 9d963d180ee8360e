"""An image of any size through the network layer by layer, with gates from the means over all of it.

Every layer is one sweep over the whole image in tiles that see no more than that layer needs; its output lies on disk,
and its mean is known before the next layer starts. So nothing is computed twice and no gate is an approximation.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast import ops
from awsrn_fast.errors import RunError
from awsrn_fast.nn import AWRU, LFB, NonLocal

from .gates import FixedGate, sharing
from .spans import Span, spans
from .wrappers import Placed

if TYPE_CHECKING:
    from .tiling import Pieces, Source


class Spill:
    """A map ``[1, C, H, W]`` in a file without a name, which the system removes with the last reference.

    Rows of pixels of channels, in fp32; read and written by calls, since pages of a mapping would count as memory.
    """

    def __init__(self, height: int, width: int, channels: int, folder: str | None) -> None:
        self.height, self.width, self.channels = height, width, channels
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with the last reference

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """``[1, C, bottom - top, right - left]`` in channels_last."""
        values = np.empty((bottom - top, right - left, self.channels), np.float32)
        for row, target in enumerate(values, top):
            os.preadv(self._file.fileno(), [target], self._at(row, left))
        return torch.from_numpy(values).permute(2, 0, 1)[None]

    def put(self, top: int, left: int, part: Tensor) -> None:
        """Write ``part [1, C, h, w]`` with its corner at (top, left)."""
        values = part[0].permute(1, 2, 0).contiguous().numpy()
        for row, source in enumerate(values, top):
            if os.pwrite(self._file.fileno(), source, self._at(row, left)) < source.nbytes:
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
        on_tile: called with the share of input pixels that a tile of one sweep stands for.
        folder: for the activations, at most 4 * C * (units + 2) bytes a pixel at a time.

    Raises:
        RunError: the folder has not room enough.
    """
    network = model.model
    folder = folder or tempfile.gettempdir()
    maps = max(block.units for block in network.body) + 2
    needed, free = 4 * network.channels * maps * source.height * source.width, shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"exact gates need {needed / 1e9:.1f} GB for activations in {folder}, {free / 1e9:.1f} GB are free; name "
            "another folder in TMPDIR, or take frozen ones (--stats frozen)"
        )
    yield from _Sweeps(model, source, pieces, on_tile, folder).strips()


class _Sweeps:
    def __init__(self, model: Placed, source: Source, pieces: Pieces, on_tile: Callable, folder: str) -> None:
        self.model, self.network, self.source, self.pieces, self.folder = model, model.model, source, pieces, folder
        passes = 2 + sum(block.units + 1 for block in self.network.body) + hasattr(self.network, "non_local")
        passes += sum(_needs_mean_of_residual(module) for module in self.network.modules())
        self.progress = lambda pixels: on_tile(pixels / passes)

    def strips(self) -> Iterator[Tensor]:
        network = self.network
        attention = getattr(network, "attention", None)

        def shallow(x: Tensor) -> Tensor:
            h = network.head["0"](self._normalised(x))
            return h if attention is None else attention(h)

        x, mean = self._sweep([self.source], 1 + (attention is not None), shallow)
        for block in network.body:
            x, mean = self._block(block, x, mean)
        gate = None
        if hasattr(network, "non_local"):
            x, mean = self._non_local(network.non_local, x)
            with self.model.precision():
                gate = network.channel_attention(mean)
        yield from self._tail(x, gate)

    def _block(self, block: LFB, x: Spill, mean: Tensor) -> tuple[Spill, Tensor]:
        levels, means = [x], [mean]
        for index in range(block.units):
            level, mean = self._unit(getattr(block, f"b{index}"), levels[-1], means[-1])
            levels.append(level)
            means.append(mean)

        def fuse(x: Tensor, *levels: Tensor) -> Tensor:
            fused = block.reduction(list(levels), means[1:])
            return ops.gated_residual(x, fused, None, block.x_scale.scale, block.res_scale.scale)[0]

        return self._sweep(levels, 1, fuse)

    def _unit(self, unit: AWRU, x: Spill, mean: Tensor) -> tuple[Spill, Tensor]:
        if _needs_mean_of_residual(unit):
            first, second = unit.body["0"], unit.body["2"]
            residual_mean = self._sweep([x], 2, lambda x: second(F.relu(first(x))), keep=False)[1]
            with self.model.precision():
                unit = sharing(unit, {"gate": FixedGate(unit.gate(residual_mean))})
        return self._sweep([x], 2, lambda x: unit(x, mean)[0])

    def _non_local(self, layer: NonLocal, x: Spill) -> tuple[Spill, Tensor]:
        if layer.block is not None:
            return self._sweep([x], layer.block + 2 * layer.halo, layer, align=layer.block)
        return self._sweep([x], 0, self._everywhere(layer, x))

    def _everywhere(self, layer: NonLocal, x: Spill) -> Callable[[Tensor], Tensor]:
        """The layer on a tile whose positions attend to the whole image; all keys and values are kept in memory."""

        def project(part: Tensor) -> Tensor:
            tokens = part.flatten(2).transpose(1, 2)
            return torch.stack((layer.phi(tokens), layer.g(tokens)))[..., None, :]  # [2, 1, h * w, 1, D]

        parts = [
            self.model.run(project, x.window(rows.start, rows.stop, columns.start, columns.stop))
            for rows in spans(x.height, self.pieces.height, 0)
            for columns in spans(x.width, self.pieces.width, 0)
        ]
        key, value = torch.cat(parts, dim=2).transpose(2, 3).to(self.model.device)  # [1, 1, H * W, D] each

        def attend(part: Tensor) -> Tensor:
            query = layer.theta(part.flatten(2).transpose(1, 2))[:, None]
            kept = (t.to(query.dtype) for t in (key, value))
            attended = F.scaled_dot_product_attention(query, *kept, scale=1.0)[:, 0]
            return part + layer.z(attended).transpose(1, 2).reshape(part.shape)

        return attend

    def _tail(self, x: Spill, gate: Tensor | None) -> Iterator[Tensor]:
        network, scale = self.network, self.network.scale
        radius = network.tail.kernels[-1] // 2

        def reconstruct(features: Tensor, image: Tensor) -> Tensor:
            if gate is not None:
                features = ops.gated_residual(features, features, gate, network.zero, network.one)[0]
            skip = network.skip["0"](self._normalised(image))
            return network.tail(features, skip, out_scale=0.5, out_shift=network.mean, clamp=network.clamp)

        for rows in spans(x.height, self.pieces.height, radius):
            size = (1, 3, scale * (rows.stop - rows.start), scale * x.width)
            out = torch.empty(size, dtype=torch.float32, device="cpu")
            # By the strip, since the image may be a file that is decoded from top to bottom.
            image = self.source.window(rows.low, rows.high, 0, x.width)

            def run(down: Span, across: Span, image: Tensor = image, out: Tensor = out, rows: Span = rows) -> None:
                features = x.window(down.low, down.high, across.low, across.high)
                seen = image[:, :, down.low - rows.low : down.high - rows.low, across.low : across.high]
                y = self.model.run(reconstruct, features, seen)
                top, left = scale * (down.start - rows.start), scale * across.start
                own = y[:, :, down.scaled(scale).own, across.scaled(scale).own]
                out[:, :, top : top + own.shape[2], left : left + own.shape[3]] = own
                self.progress((down.stop - down.start) * (across.stop - across.start))

            for columns in spans(x.width, self.pieces.width, radius):
                self.pieces.run(rows, columns, radius, run)
            yield out
            del image, out, run  # before the next

    def _normalised(self, x: Tensor) -> Tensor:
        return 2 * (x - self.network.mean[:, None, None])

    def _sweep(
        self,
        inputs: Sequence[Source | Spill],
        radius: int,
        layer: Callable[..., Tensor],
        align: int = 1,
        keep: bool = True,
    ) -> tuple[Spill | None, Tensor]:
        """``layer`` over the whole image: its output (None unless kept) and the output's mean ``[1, C]``.

        Args:
            inputs: maps of the same size.
            radius: how far a pixel of the output sees.
            layer: maps ``[1, C, h, w]`` in, one out.
            align: grid that tiles and what they see start on.
        """
        height, width, channels = self.source.height, self.source.width, self.network.channels
        out = Spill(height, width, channels, self.folder) if keep else None
        total = torch.zeros(channels, dtype=torch.float64, device="cpu")

        def run(rows: Span, columns: Span) -> None:
            seen = [m.window(rows.low, rows.high, columns.low, columns.high) for m in inputs]
            own = self.model.run(layer, *seen)[:, :, rows.own, columns.own]
            if out is not None:
                out.put(rows.start, columns.start, own)
            total.add_(own.sum((0, 2, 3), dtype=torch.float64))
            self.progress(own.shape[2] * own.shape[3])

        for rows in spans(height, self.pieces.height, radius, align):
            for columns in spans(width, self.pieces.width, radius, align):
                self.pieces.run(rows, columns, radius, run)
        return out, (total / (height * width)).float()[None].to(self.model.device)


def _needs_mean_of_residual(module: nn.Module) -> bool:
    return isinstance(module, AWRU) and module.gate is not None and module.gap == "residual"
