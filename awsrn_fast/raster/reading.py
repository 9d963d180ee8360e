"""Reading of rasters in windows: numbers, what is missing, and the range of a group of bands."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.images import BYTES, Samples
from awsrn_fast.images.windows import check_memory, check_size, plainly

from .kind import driver_of

if TYPE_CHECKING:
    from rasterio import DatasetReader

TIFF = "GTiff"
_CACHE = 64 * 2**20
"""Bytes of decoded blocks that GDAL keeps."""
_OPTIONS = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_NUM_THREADS": 1,
    "GDAL_TIFF_INTERNAL_MASK": True,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}
_SCANNED = 2**24
"""Bytes that are scanned at a time."""
_EXACT = 2**53
_MOST_BANDS = 4096
_LONGEST_VRT = 2**24
_ELSEWHERE = re.compile(rb"/vsi|://|PixelFunction|<SourceFilename[^>]*>\s*(<|&lt;)", re.IGNORECASE)
"""What a VRT could fetch from the network or run, which is not followed."""


@contextmanager
def gdal(path: Path) -> Iterator[None]:
    """Context for rasterio: bounded memory, no network, errors as one line that names the file.

    Raises:
        RunError: rasterio is not installed, or fails.
    """
    try:
        import rasterio
        from rasterio.errors import RasterioError
    except ImportError as error:
        raise RunError(f"{path}: this raster is read with the package rasterio: pip install '.[geo]'") from error
    with warnings.catch_warnings(), plainly(path), ExitStack() as stack:
        warnings.simplefilter("ignore")
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE, **_OPTIONS))
        try:
            yield
        except (RasterioError, rasterio._err.CPLE_BaseError) as error:
            cause = error.__cause__ or error
            raise ValueError(" ".join(str(cause).split())) from error


@contextmanager
def opened(path: Path, max_pixels: int, memory_limit: int | None = None) -> Iterator[DatasetReader]:
    """A raster, open for reading.

    Raises:
        RunError: not readable, or of a kind that is not a picture.
    """
    with gdal(path):
        import rasterio

        with open(path, "rb") as file:
            driver = driver_of(file.read(64))
        if driver == "VRT":
            _refuse_what_fetches(path)
        with rasterio.open(path, driver=driver or TIFF) as raster:
            if raster.subdatasets and not raster.count:
                raise RunError(f"{path}: holds {len(raster.subdatasets)} rasters; convert one of them to GeoTIFF")
            if not 1 <= raster.count <= _MOST_BANDS:
                raise RunError(f"{path}: {raster.count} bands are not supported")
            check_size(path, raster.height, raster.width, max_pixels)
            if len(set(raster.dtypes)) > 1:
                raise RunError(
                    f"{path}: bands of several types ({', '.join(sorted(set(raster.dtypes)))}); save one type"
                )
            if len(set(map(str, raster.nodatavals))) > 1:
                raise RunError(
                    f"{path}: bands with several no-data numbers, of which GeoTIFF holds one; save one for all"
                )
            if "complex" in raster.dtypes[0]:
                raise RunError(f"{path}: {raster.dtypes[0]} is not supported; save its amplitude")
            if any(name.name == "palette" for name in raster.colorinterp):
                raise RunError(f"{path}: classes with a palette, not measurements: numbers between two mean a third")
            block = max(height * width for height, width in raster.block_shapes)
            check_memory(
                path, 2 * block * np.dtype(raster.dtypes[0]).itemsize, memory_limit, "save it as GeoTIFF in tiles"
            )
            yield raster


def _refuse_what_fetches(path: Path) -> None:
    with open(path, "rb") as file:
        text = file.read(_LONGEST_VRT + 1)
    if len(text) > _LONGEST_VRT or _ELSEWHERE.search(text):
        raise RunError(f"{path}: a VRT that computes its pixels or names files elsewhere is not followed")


@dataclass(frozen=True)
class Group:
    """Bands that go through the network as one picture.

    Attributes:
        bands: one, or three as red, green and blue; counted from 1.
        samples: their values' mapping to [0, 1].
        gaps: whether anything is missing.
        split: whether it is one band of three whose gaps differ.
    """

    bands: tuple[int, ...]
    samples: Samples
    gaps: bool
    split: bool = False

    @property
    def planes(self) -> int:
        return len(self.bands) + self.gaps


@dataclass
class Window:
    """The pixels of a group, read in parts, with a plane more where something is missing."""

    raster: DatasetReader
    group: Group

    @property
    def height(self) -> int:
        return self.raster.height

    @property
    def width(self) -> int:
        return self.raster.width

    @property
    def planes(self) -> int:
        return self.group.planes

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """float32 ``[bottom - top, right - left, planes]`` in [0, 1]."""
        numbers = numbers_of(self.raster, self.group.bands, (top, bottom), (left, right))
        if not self.group.gaps:
            return self.group.samples.to_unit(numbers)
        there = there_of(self.raster, self.group.bands, numbers, (top, bottom), (left, right))[..., :1]
        known = np.where(there, numbers, numbers.dtype.type(self.group.samples.low))
        opaque = _masks(self.raster, self.group.bands[:1], (top, bottom), (left, right)) / 255
        return np.concatenate((self.group.samples.to_unit(known), there * opaque), axis=2, dtype=np.float32)


def numbers_of(
    raster: DatasetReader, bands: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray:
    """The file's numbers, ``[h, w, bands]``."""
    with gdal(Path(raster.name)):
        return np.ascontiguousarray(raster.read(list(bands), window=(rows, columns)).transpose(1, 2, 0))


def _masks(
    raster: DatasetReader, bands: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray:
    """GDAL's masks, 0 where something is missing, 255 where it is there, between for what is half transparent."""
    with gdal(Path(raster.name)):
        return raster.read_masks(list(bands), window=(rows, columns)).transpose(1, 2, 0)


def there_of(
    raster: DatasetReader, bands: tuple[int, ...], numbers: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray:
    """Which of the numbers mean something: not the no-data number, not masked, finite."""
    there = _masks(raster, bands, rows, columns) > 0
    return there & np.isfinite(numbers) if numbers.dtype.kind == "f" else there


def groups_of(raster: DatasetReader, wanted: tuple[tuple[int, ...], ...] | None, path: Path) -> Iterator[Group]:
    """The groups of bands that go through the network, each with the range of its values.

    Three bands whose gaps differ go one by one: a gap in one of them is none in the others.

    Raises:
        RunError: a band that the raster does not have, or no value at all.
    """
    for bands in wanted or _usual(raster):
        beyond = [band for band in bands if band > raster.count]
        if beyond:
            raise RunError(f"{path}: --bands names band {beyond[0]}, the raster has {raster.count}")
        group = _scanned(raster, bands, path)
        if group is not None:
            yield group
        else:
            for band in bands:
                single = _scanned(raster, (band,), path)
                assert single is not None
                yield replace(single, split=True)


def _usual(raster: DatasetReader) -> list[tuple[int, ...]]:
    """Red, green and blue jointly, the others one by one, in the order of the bands; transparency is no band."""
    names = [name.name for name in raster.colorinterp]
    colors = tuple(names.index(color) + 1 for color in ("red", "green", "blue") if names.count(color) == 1)
    groups: list[tuple[int, ...]] = [colors] if len(colors) == 3 else []
    grouped = set(colors) if groups else set()
    groups += [(band,) for band in raster.indexes if band not in grouped and names[band - 1] != "alpha"]
    return sorted(groups)


def _scanned(raster: DatasetReader, bands: tuple[int, ...], path: Path) -> Group | None:
    """The group with its range; None: its bands have different gaps."""
    dtype = np.dtype(raster.dtypes[bands[0] - 1])
    low, high, gaps = np.inf, -np.inf, False
    step = max(1, _SCANNED // (raster.width * len(bands) * dtype.itemsize))
    for top in range(0, raster.height, step):
        rows, columns = (top, min(top + step, raster.height)), (0, raster.width)
        numbers = numbers_of(raster, bands, rows, columns)
        there = there_of(raster, bands, numbers, rows, columns)
        if (there != there[..., :1]).any():
            return None
        gaps = gaps or not there.all()
        found = numbers[there]
        if found.size:
            low, high = min(low, found.min()), max(high, found.max())
    if low > high:
        low = high = 0
    if max(abs(float(low)), abs(float(high))) > _EXACT and dtype.kind in "iu":
        raise RunError(f"{path}: whole numbers beyond 2^53 have more digits than can be kept")
    nodata = raster.nodatavals[bands[0] - 1]
    avoided = None if nodata is None or np.isnan(nodata) else float(nodata)
    known = BYTES if dtype == np.uint8 else Samples(dtype, float(low), float(high))
    return Group(bands, replace(known, avoided=avoided), gaps)
