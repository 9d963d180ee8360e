"""Upscaling of one raster to another, group by group of its bands, in windows."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from awsrn_fast.errors import RunError
from awsrn_fast.inference.protocols import Enlarger

from .grid import Grid
from .reading import TIFF, Group, Window, groups_of, opened
from .writing import held, written

Result = tuple[tuple[int, int], tuple[int, int], tuple[str, ...]]


def pixels(path: Path, max_pixels: int) -> int:
    """Number of pixels, by the header. Raises RunError like :func:`upscale`."""
    with opened(path, max_pixels) as raster:
        return raster.height * raster.width


def upscale(source: Path, target: Path, enlarger: Enlarger, args: Namespace, peers: tuple[Path, ...]) -> Result:
    """Read, upscale and write one raster.

    Args:
        source, target: the files.
        enlarger: the network with its options.
        args: the command's options.
        peers: not needed.

    Returns:
        (height, width) of the input and of the output, remarks for the user.

    Raises:
        RunError: input that is refused, or too little memory. Nothing is written then.
    """
    with opened(source, args.max_pixels, enlarger.settings.room) as raster:
        size = raster.height, raster.width
        try:
            grid = Grid(size, enlarger.size(*size))
            groups = list(groups_of(raster, args.bands, source))
            with written(target, raster, grid, groups) as file:
                enlarger.parts = len(groups)
                for group in groups:
                    rows = enlarger.rows(Window(raster, group), _held(grid, group), _steps(group))
                    file.write(group, rows)
        except RunError as error:
            named = any(str(path) in str(error) for path in (target, source))
            raise RunError(str(error) if named else f"{source}: {error}") from error
        remarks = _remarks(raster.driver, groups)
    return size, grid.after, (*remarks, *enlarger.remarks)


def _held(grid: Grid, group: Group) -> int:
    return held(grid, group.planes, group.samples.dtype.itemsize)


def _steps(group: Group) -> int | None:
    samples = group.samples
    return max(1, round(samples.high - samples.low)) if samples.dtype.kind in "iu" else None


def _remarks(driver: str, groups: list[Group]) -> list[str]:
    said = [] if driver == TIFF else [f"{driver} inside, written as GeoTIFF"]
    split = [str(group.bands[0]) for group in groups if group.split]
    if split:
        said.append(f"bands {', '.join(split)}, whose gaps differ, went through the network one by one")
    return said
