"""Where a raster lies on the map, on a grid of smaller pixels: its corners stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awsrn_fast.images.grid import GridChange

if TYPE_CHECKING:
    from rasterio import Affine, DatasetReader
    from rasterio.control import GroundControlPoint
    from rasterio.rpc import RPC


class Grid(GridChange):
    """The change of a raster's grid."""

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
