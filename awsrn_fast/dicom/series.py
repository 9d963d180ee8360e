"""The range of values that all slices of a series share."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from awsrn_fast.errors import RunError

from .reading import Scan, opened

_BYTE = 8


def has_own_range(scan: Scan) -> bool:
    """Whether a scan's values are measurements: gray of more than 8 bits, of which a series uses a part."""
    return scan.gray and scan.stored.bits > _BYTE


def range_of(scan: Scan, peers: tuple[Path, ...], max_pixels: int) -> tuple[int, int]:
    """Smallest and largest stored value of all slices of the scan's series, padding left out.

    Args:
        scan: one of them.
        peers: files to look for the others in.
        max_pixels: files with more pixels a frame do not count, nor do damaged ones, which fail on their own.

    Raises:
        RunError: the scan itself is damaged.
    """
    others = _members(peers, max_pixels).get(_key(scan), ())
    if scan.path in others:
        found = _range_of_files(others, max_pixels)
        if found is not None:
            return found
    return _extremes(scan) or (0, 1)


@lru_cache(maxsize=1)
def _members(peers: tuple[Path, ...], max_pixels: int) -> dict[tuple, tuple[Path, ...]]:
    """The files of each series."""
    found: dict[tuple, tuple[Path, ...]] = {}
    for path in peers:
        try:
            key = _key(opened(path, max_pixels))
        except RunError:  # reported when its turn comes
            continue
        found[key] = (*found.get(key, ()), path)
    return found


@lru_cache(maxsize=64)
def _range_of_files(paths: tuple[Path, ...], max_pixels: int) -> tuple[int, int] | None:
    ranges = []
    for path in paths:
        try:
            ranges.append(_extremes(opened(path, max_pixels)))
        except RunError:
            continue
    known = [each for each in ranges if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _key(scan: Scan) -> tuple:
    """Series and type of the values: those of different types have no range in common."""
    stored = scan.stored
    return scan.header.get("SeriesInstanceUID"), stored.bits, stored.signed, scan.photometric


def _extremes(scan: Scan) -> tuple[int, int] | None:
    """Smallest and largest value beside padding; None: there is nothing but padding."""
    low = high = None
    for numbers in scan.numbers():
        values = numbers[~scan.stored.is_padding(numbers)] if scan.stored.padding is not None else numbers
        if values.size:
            low = int(values.min()) if low is None else min(low, int(values.min()))
            high = int(values.max()) if high is None else max(high, int(values.max()))
    return None if low is None or high is None else (low, high)
