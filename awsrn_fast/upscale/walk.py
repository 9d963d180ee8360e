"""Discovery of images below a folder, and counts of what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from awsrn_fast.images import FORMATS

from .fields import IMAGE, field_of

_NAMED = 8


class LeftOut:
    """Counts what is not upscaled: files by suffix, and links to folders."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.links = 0

    def __bool__(self) -> bool:
        return bool(self.files or self.links)

    def __str__(self) -> str:
        most = sorted(self.files.items(), key=lambda kind: (-kind[1], kind[0]))[:_NAMED]
        kinds = [f"{count} {suffix}" for suffix, count in most]
        kinds += [f"{len(self.files) - _NAMED} more kinds"] if len(self.files) > _NAMED else []
        kinds += [f"{self.links} linked folder{'s' * (self.links > 1)}"] if self.links else []
        return f"left out: {', '.join(kinds)}"


def images_below(folder: Path, out: Path, left_out: LeftOut) -> Iterator[tuple[Path, Path, str]]:
    """(file, its path relative to ``folder``, problem), by name; folders that cannot be listed come last.

    Linked folders are not followed, to avoid cycles; ``out`` and hidden names are ignored.
    """
    root, skipped = os.path.realpath(folder), os.path.realpath(out)
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        here = Path(place)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and os.path.realpath(here / f) != skipped)
        left_out.links += sum(os.path.islink(here / f) for f in folders)
        for name in sorted(files):
            file = here / name
            if name.startswith("."):
                continue
            if file.suffix.lower() in FORMATS or field_of(file) is not IMAGE:
                yield file, file.relative_to(folder), ""
            else:
                left_out.files[file.suffix.lower() or "without a suffix"] += 1
    for error in closed:
        unread = Path(error.filename)
        relative = unread.relative_to(folder) if os.path.realpath(unread) != root else Path(unread.name)
        yield unread, relative, f"cannot look into the folder: {error.strerror}"
