"""Where a raster lies on the map, on a grid of smaller pixels: its corners stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rasterio import Affine, DatasetReader
    from rasterio.control import GroundControlPoint
    from rasterio.rpc import RPC


@dataclass(frozen=True)
class Grid:
    """The change of a raster's grid: (height, width) before and after."""

    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def down(self) -> float:
        return self.after[0] / self.before[0]

    @property
    def across(self) -> float:
        return self.after[1] / self.before[1]

    def transform(self, raster: DatasetReader) -> Affine:
        """From pixels, counted from the raster's corner, to the map."""
        from rasterio import Affine

        return raster.transform * Affine.scale(1 / self.across, 1 / self.down)

    def points(self, raster: DatasetReader) -> list[GroundControlPoint]:
        """Ground control points, whose rows and columns are counted from the raster's corner."""
        from rasterio.control import GroundControlPoint

        return [
            GroundControlPoint(at.row * self.down, at.col * self.across, at.x, at.y, at.z, at.id, at.info)
            for at in raster.gcps[0]
        ]

    def polynomials(self, raster: DatasetReader) -> RPC | None:
        """Rational polynomial coefficients, whose lines and samples are counted from the first pixel's centre."""
        from copy import copy

        if raster.rpcs is None:
            return None
        large = copy(raster.rpcs)
        large.line_off, large.samp_off = (
            (offset + 0.5) * factor - 0.5
            for offset, factor in ((large.line_off, self.down), (large.samp_off, self.across))
        )
        large.line_scale, large.samp_scale = large.line_scale * self.down, large.samp_scale * self.across
        return large
