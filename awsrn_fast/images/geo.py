"""Georeferencing of a TIFF (GeoTIFF), preserved when the image is upscaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

PIXEL_SCALE, TIEPOINTS, TRANSFORMATION = 33550, 33922, 34264
DIRECTORY, DOUBLES, TEXT = 34735, 34736, 34737
_RASTER_TYPE, _POINT = 1025, 2


@dataclass(frozen=True)
class Georeference:
    """GeoTIFF's tags; empty where the file has none.

    Attributes:
        pixel_scale: size of a pixel, x, y, z.
        tiepoints: six numbers each: column, row, 0, x, y, z.
        transformation: 4x4 matrix from (column, row, 0, 1) to (x, y, z, 1), by rows.
        directory, doubles, text: coordinate system, as in the file.
    """

    pixel_scale: tuple[float, ...] = ()
    tiepoints: tuple[float, ...] = ()
    transformation: tuple[float, ...] = ()
    directory: tuple[int, ...] = ()
    doubles: tuple[float, ...] = ()
    text: str = ""

    @property
    def shift(self) -> float:
        """Offset in pixels of (0, 0) within the first pixel: its corner, or (RasterPixelIsPoint) its centre."""
        keys = zip(self.directory[4::4], self.directory[7::4], strict=False)
        return 0.5 if (_RASTER_TYPE, _POINT) in keys else 0.0

    def scaled(self, across: float, down: float | None = None) -> Georeference:
        """Georeference after upscaling by ``across`` horizontally and ``down`` vertically (None: as ``across``).

        The image's corners keep their coordinates.
        """
        scales = across, across if down is None else down
        shift = self.shift
        points = list(self.tiepoints)
        for at in range(0, len(points), 6):
            places = zip(scales, points[at : at + 2], strict=True)
            points[at : at + 2] = (scale * (place + shift) - shift for scale, place in places)
        matrix = list(self.transformation)
        for row in range(0, len(matrix), 4):
            steps = [value / scale for scale, value in zip(scales, matrix[row : row + 2], strict=True)]
            matrix[row + 3] += shift * sum((1 - scale) * step for scale, step in zip(scales, steps, strict=True))
            matrix[row : row + 2] = steps
        sizes = tuple(value / scale for scale, value in zip(scales, self.pixel_scale, strict=False))
        sizes += self.pixel_scale[2:]
        return replace(self, pixel_scale=sizes, tiepoints=tuple(points), transformation=tuple(matrix))


def georeference(tags: Mapping[int, Any]) -> Georeference | None:
    """Georeference from a file's tag values by number; None: absent or damaged."""
    if not {PIXEL_SCALE, TRANSFORMATION} & set(tags):
        return None
    names = (PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, DIRECTORY, DOUBLES)
    scale, points, matrix, directory, doubles = numbers = [tuple(tags.get(name, ())) for name in names]
    found = Georeference(scale, points, matrix, directory, doubles, str(tags.get(TEXT, "")))
    whole = len(found.pixel_scale) in (0, 3) and len(found.tiepoints) % 6 == 0 and len(found.transformation) in (0, 16)
    return found if whole and all(type(n) in (int, float) for each in numbers for n in each) else None
