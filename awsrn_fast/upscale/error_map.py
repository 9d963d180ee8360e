"""``--error-map``: how far off each pixel of the result may be, as a file beside the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from awsrn_fast import images
from awsrn_fast.bundled import default_for
from awsrn_fast.checkpoint import BUNDLED
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Source
from awsrn_fast.inference.corrections import Own, Strips, corrected
from awsrn_fast.inference.enhance import Color
from awsrn_fast.inference.error_model import REACH, ErrorModel, read_error_model
from awsrn_fast.page.cases import BRIGHTEST, heat

from .fields import IMAGE
from .plan import Job

LEVELS = images.Samples(np.dtype(np.float32), 0, 255)
"""Samples of the TIFF: gray levels."""
ENDING = "_error.tif"


def map_files(path: Path, jobs: Sequence[Job], overwrite: bool) -> dict[Path, Path]:
    """The map's file for each job's output: ``path`` itself for one image, else ``NAME_error.tif`` in the folder.

    Raises:
        UserError: a name that fits no map, a file that exists, or an input that is no image.
    """
    other = next((job for job in jobs if job.field is not IMAGE), None)
    if other is not None:
        raise UserError(f"--error-map is for images: {other.source} is {other.field.title}")
    one = len(jobs) == 1 and path.suffix and not path.is_dir()
    if one and path.suffix.lower() not in (".tif", ".tiff", ".png"):
        raise UserError(f"--error-map {path}: .tif holds the numbers, .png a picture of them")
    files = {job.target: path if one else path / f"{job.target.stem}{ENDING}" for job in jobs}
    for file in files.values():
        if file.exists() and not overwrite:
            raise UserError(f"{file} exists: give --overwrite to replace it, or choose another --error-map")
    if len(set(files.values())) < len(files):
        raise UserError(f"--error-map {path}: two results have one name; upscale their folders one by one")
    return files


def error_model(weights: str, scale: int) -> ErrorModel:
    """The estimate that was fitted for these weights, or for the bundled ones of their scale.

    Raises:
        UserError: there is none for this scale.
    """
    own = BUNDLED / f"{weights}.error.json"
    return read_error_model(own if own.is_file() else BUNDLED / f"{default_for(scale)}.error.json")


class ErrorMap:
    """The map of one image: TIFF with gray levels of 255 in float32, or PNG in colours, black to white.

    Args:
        path: the file.
        model: the estimate.
        weights: name of the weights that make the result.
    """

    def __init__(self, path: Path, model: ErrorModel, weights: str) -> None:
        self.path, self.model, self.weights = path, model, weights
        self._sum, self._count = 0.0, 0

    @contextmanager
    def written(self, strips: Strips, scale: int, size: tuple[int, int]) -> Iterator[Strips]:
        """Context with ``strips`` that write the map as they are read; whole at its end, or not at all.

        Args:
            strips: the upscaled image of a source.
            scale: upscaling factor.
            size: height and width of the input.
        """
        height, width = (scale * side for side in size)
        colored = self.path.suffix.lower() == ".png"
        header = images.Header(height, width, gray=not colored, samples=images.BYTES if colored else LEVELS)
        palette, parts = heat().astype(np.float32) / 255, []
        with images.writer(self.path, header) as out:

            def watch(x: Tensor, y: Tensor, own: Own) -> Tensor:
                levels = own.of(self.model(x, y, scale), scale)[0, 0].numpy()
                self._sum += float(levels.sum(dtype=np.float64))
                self._count += levels.size
                parts.append(levels)
                if sum(part.shape[1] for part in parts) == width:  # a patch after the other, from left to right
                    rows = np.concatenate(parts, axis=1)
                    shown = palette[np.minimum(rows * (255 / BRIGHTEST), 255).astype(np.uint8)]
                    out.write(shown if colored else rows[..., None] / 255)
                    parts.clear()
                return y

            def mapped(source: Source) -> Iterator[Tensor]:
                # Alpha has no map, but must come in strips of the same heights.
                correct = watch if isinstance(source, Color) else _unchanged
                yield from corrected(strips, scale, REACH, correct)(source)

            yield mapped

    def __str__(self) -> str:
        fitted = "" if self.model.weights == self.weights else f", fitted for {self.model.weights}"
        mean = self._sum / max(self._count, 1)
        return (
            f"error estimated at {mean:.2f} gray levels in the mean{fitted}; 90 % are below {self.model.interval:.2f} "
            "times the map"
        )


def _unchanged(x: Tensor, y: Tensor, own: Own) -> Tensor:
    return y
