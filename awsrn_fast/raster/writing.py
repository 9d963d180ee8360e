"""Writing of rasters: bands row by row into a temporary GeoTIFF, which becomes a Cloud Optimized GeoTIFF."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing

from .grid import Grid
from .reading import Group, gdal

if TYPE_CHECKING:
    from rasterio import DatasetReader
    from rasterio.io import DatasetWriter

BLOCK = 256
_LARGEST_SIDE = 2**31 - 1
_OF_OLD_PIXELS = ("STATISTICS_", "LAYER_TYPE", "OVERVIEW")
"""Beginnings of GDAL's items that describe the old pixels."""
_NOT_OURS = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC", "GEOLOCATION", "SUBDATASETS", "COLOR_PROFILE", "TIFF")


@dataclass
class Output:
    """The temporary raster that is being filled."""

    file: DatasetWriter
    source: DatasetReader
    groups: list[Group]
    masked: bool
    """Whether gaps are a mask, not a number."""
    alpha: bool
    """Whether gaps are a band of transparency."""

    def write(self, group: Group, rows: Iterable[np.ndarray]) -> None:
        """The enlarged rows of a group, ``[k, W, planes]``, in strips as high as the file's blocks."""
        order = [band for each in self.groups for band in each.bands]
        places = [order.index(band) + 1 for band in group.bands]
        first = group is self.groups[0]
        top = 0
        for strip in _strips(rows):
            bottom = top + len(strip)
            window = ((top, bottom), (0, self.file.width))
            numbers = group.samples.from_unit(strip[..., : len(group.bands)])
            if group.gaps:
                missing = strip[..., -1:] < 0.5
                numbers = np.where(missing, self._filler(group), numbers).astype(numbers.dtype)
            self.file.write(numbers.transpose(2, 0, 1), places, window=window)
            if first and (self.masked or self.alpha):
                self._write_gaps(strip, group.gaps, window)
            top = bottom

    def _filler(self, group: Group) -> float:
        nodata = self.source.nodatavals[group.bands[0] - 1]
        return nodata if nodata is not None else np.nan if group.samples.dtype.kind == "f" else 0

    def _write_gaps(self, strip: np.ndarray, gaps: bool, window: tuple) -> None:
        there = np.clip(strip[..., -1], 0, 1) if gaps else np.ones(strip.shape[:2], np.float32)
        if self.alpha:
            dtype = np.dtype(self.file.dtypes[-1])
            top = np.iinfo(dtype).max if dtype.kind in "iu" else 1
            self.file.write(np.rint(there * top).astype(dtype), self.file.count, window=window)
        else:
            self.file.write_mask(there >= 0.5, window=window)


def _strips(rows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows, in strips of BLOCK and what is left."""
    held: list[np.ndarray] = []
    count = 0
    for part in rows:
        while count + len(part) >= BLOCK:
            held.append(part[: BLOCK - count])
            yield np.concatenate(held)
            part, held, count = part[BLOCK - count :], [], 0
        if len(part):
            held.append(part)
            count += len(part)
    if held:
        yield np.concatenate(held)


def held(grid: Grid, planes: int, itemsize: int) -> int:
    """Most bytes that the writer holds."""
    return BLOCK * grid.after[1] * planes * (4 + 2 * itemsize)


@contextmanager
def written(path: Path, source: DatasetReader, grid: Grid, groups: list[Group]) -> Iterator[Output]:
    """Write a raster, whole or not at all, with everything that the source says of itself.

    Raises:
        RunError: the file cannot be written.
    """
    if max(grid.after) > _LARGEST_SIDE:
        raise RunError(f"cannot write {path}: {grid.after[1]}x{grid.after[0]} pixels are more than GeoTIFF holds")
    import rasterio
    from rasterio.shutil import copy

    kinds = [each.name for flags in source.mask_flag_enums for each in flags]
    alpha = "alpha" in [name.name for name in source.colorinterp]
    masked = not alpha and "per_dataset" in kinds
    count = sum(len(group.bands) for group in groups) + alpha
    with replacing(path) as beside, tempfile.TemporaryDirectory(prefix="awsrn_fast-") as folder, gdal(path):
        options = {
            "driver": "GTiff",
            "height": grid.after[0],
            "width": grid.after[1],
            "count": count,
            "dtype": groups[0].samples.dtype,
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "interleave": "band",
            "compress": "zstd",
            "zstd_level": 1,
            "bigtiff": "if_safer",
            "nodata": source.nodata,
            "sparse_ok": True,
        }
        between = Path(folder) / "bands.tif"
        with rasterio.open(between, "w", **options) as file:
            _describe(file, source, grid, groups, alpha)
            yield Output(file, source, groups, masked, alpha)
        floating = groups[0].samples.dtype.kind == "f"
        copy(
            between,
            beside,
            driver="COG",
            COMPRESS="DEFLATE",
            PREDICTOR="FLOATING_POINT" if floating else "STANDARD",
            BIGTIFF="IF_SAFER",
            OVERVIEW_RESAMPLING="AVERAGE",
            OVERVIEWS="IGNORE_EXISTING",
            BLOCKSIZE=BLOCK if max(grid.after) < 2048 else 512,
            NUM_THREADS=1,
        )


def _describe(file: DatasetWriter, source: DatasetReader, grid: Grid, groups: list[Group], alpha: bool) -> None:
    from rasterio.enums import ColorInterp

    order = [band for group in groups for band in group.bands]
    names = [source.colorinterp[band - 1] for band in order]
    file.colorinterp = [*names, *([ColorInterp.alpha] if alpha else [])]
    points = grid.points(source)
    if points:
        file.gcps = (points, source.gcps[1])
    else:
        if source.crs is not None:
            file.crs = source.crs
        if not source.transform.is_identity:
            file.transform = grid.transform(source)
    polynomials = grid.polynomials(source)
    if polynomials is not None:
        file.rpcs = polynomials
    file.update_tags(**_kept(source.tags()))
    for space in set(source.tag_namespaces()) - set(_NOT_OURS):
        file.update_tags(ns=space, **source.tags(ns=space))
    for place, band in enumerate(order, 1):
        file.update_tags(place, **_kept(source.tags(band)))
        if source.descriptions[band - 1]:
            file.set_band_description(place, source.descriptions[band - 1])
        if source.units[band - 1]:
            file.set_band_unit(place, source.units[band - 1])
    extra = [1.0] * alpha
    scales, offsets = [source.scales[band - 1] for band in order], [source.offsets[band - 1] for band in order]
    if any(scale != 1 for scale in scales) or any(offsets):
        file.scales, file.offsets = [*scales, *extra], [*offsets, *(0.0 for _ in extra)]


def _kept(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith(_OF_OLD_PIXELS)}
