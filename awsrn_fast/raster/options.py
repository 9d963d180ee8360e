"""The option of ``upscale`` for rasters."""

from __future__ import annotations

import argparse

_PARTS = (1, 3)


def add_options(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--bands",
        type=bands,
        metavar="B",
        help="of rasters: the bands of the result, such as 4,3,2/8: three of a group go through the network as one "
        "colour picture, single ones by themselves (default: all bands, red, green and blue as one picture)",
    )


def bands(text: str) -> tuple[tuple[int, ...], ...]:
    """Option type: groups of one or three bands, counted from 1."""
    try:
        groups = tuple(tuple(int(number) for number in group.split(",")) for group in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"bands are written like 4,3,2/8, not {text!r}") from None
    numbers = [number for group in groups for number in group]
    if any(len(group) not in _PARTS for group in groups) or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(
            f"each group has one or three bands, counted from 1, and each band is in one group, not {text!r}"
        )
    return groups
