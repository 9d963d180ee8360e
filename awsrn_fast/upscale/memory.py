"""Refuse a result that cannot fit before the work, rather than be killed by the system after it."""

from __future__ import annotations

import re
from pathlib import Path

from awsrn_fast.errors import RunError
from awsrn_fast.images import Picture


def available() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell (not Linux)."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def needed(picture: Picture, scale: int) -> int:
    """Bytes that the result takes at the least: three fp32 planes and the rounded samples."""
    planes = picture.color.shape[2] + (picture.alpha is not None)
    return scale**2 * picture.size[0] * picture.size[1] * (12 + planes * picture.depth // 8)


def check_fits(picture: Picture, scale: int) -> None:
    """Raise RunError where the result alone is larger than the memory that is free."""
    have, want = available(), needed(picture, scale)
    if have is not None and want > have:
        height, width = picture.size
        raise RunError(
            f"the result of {scale * width}x{scale * height} pixels needs at least {want / 1e9:.1f} GB of memory, "
            f"{have / 1e9:.1f} GB are free; cut the image"
        )
