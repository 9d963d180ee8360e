"""Discovery of image files in plain folders, benchmark sets and DIV2K, and the validation split."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from awsrn_fast import images
from awsrn_fast.errors import RunError, UserError

Split = Literal["train", "valid"]

_PARTS: dict[str, Split] = {"DIV2K_train_HR": "train", "train": "train", "DIV2K_valid_HR": "valid", "valid": "valid"}
"""Folder names that determine the split of the images below."""
_HR_ONLY = ("HR", "DIV2K_train_HR", "DIV2K_valid_HR")
"""Where a folder has one of these, its other subfolders hold LR copies or something else."""
_HELD_OUT = 0.05
_MOST_HELD_OUT = 10


@dataclass(frozen=True)
class Found:
    path: Path
    part: Split | None = None
    """The split that the folder's layout says, if it does."""


def find_images(folders: Sequence[str | os.PathLike], split: Split | None = None) -> list[Path]:
    """Image files in folders, at any depth, in sorted order.

    Recognised layouts: a benchmark set (only its ``HR/`` is searched), DIV2K (``DIV2K_train_HR`` and
    ``DIV2K_valid_HR``), and subfolders ``train`` and ``valid``. Hidden files are left out. Links are followed, to each
    file and folder once.

    Args:
        folders: folders, or single image files.
        split: ``None`` for every image. Where the layout has both parts, it decides. Else 5 % of the images (at
            least 1, at most 10), those with the smallest SHA-256 of their bytes, are ``"valid"`` and the rest
            ``"train"``; a single image is used for both. A copy of a ``"valid"`` image is never ``"train"``.

    Raises:
        UserError: a folder does not exist, or there is no image in any of them.
    """
    return [found.path for found in choose(list_images(folders), split)]


def list_images(folders: Sequence[str | os.PathLike]) -> list[Found]:
    """All images that :func:`find_images` considers, each with its split in the layout."""
    walked: set[str] = set()
    found = [image for folder in folders for image in _list_one(Path(folder), walked)]
    if not found:
        where = ", ".join(str(folder) for folder in folders) or "an empty list of folders"
        raise UserError(f"no image in {where}: looked for {', '.join(images.FORMATS)} files at any depth")
    once = {os.path.realpath(image.path): image for image in reversed(found)}
    return [image for image in found if once[os.path.realpath(image.path)] is image]


def choose(found: Sequence[Found], split: Split | None, small: Collection[Found] = ()) -> list[Found]:
    """The images of ``found`` that belong to ``split``, by the rule of :func:`find_images`; none of ``small`` is
    ``"valid"`` if there is another."""
    if split is None:
        return list(found)
    keys = {image: content_key(image.path) for image in found}
    large = [image for image in found if image not in small] or list(found)
    different = sorted({keys[image] for image in large})
    if {"train", "valid"} <= {image.part for image in found}:
        valid = [image for image in large if image.part == "valid"]
        held_out = {keys[image] for image in valid}
        others = [image for image in found if image.part != "valid"]
        return valid if split == "valid" else [image for image in others if keys[image] not in held_out] or others
    # By content: a copy of a validation image must not be trained on.
    held_out = set(different[: min(max(1, round(_HELD_OUT * len(different))), _MOST_HELD_OUT)])
    if len(set(keys.values())) == 1:
        return list(found)
    return [image for image in found if (keys[image] in held_out) == (split == "valid")]


def find_lr(folder: str | os.PathLike, hr: Path, scale: int) -> Path:
    """The LR file of an HR file: ``NAMExS.*`` or ``NAME.*`` in ``folder/XS`` or ``folder``.

    Raises:
        RunError: there is none.
    """
    for place in (Path(folder) / f"X{scale}", Path(folder)):
        for stem in (f"{hr.stem}x{scale}", hr.stem):
            for suffix in images.FORMATS:
                if (place / f"{stem}{suffix}").is_file():
                    return place / f"{stem}{suffix}"
    raise RunError(f"{hr}: no LR image {hr.stem}x{scale}.* or {hr.stem}.* in {folder} or its X{scale} folder")


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """Decode one image to uint8 [H, W, 3] RGB, upright: gray becomes RGB, alpha is dropped, 16 bit is rounded to 8.

    Raises:
        RunError: unreadable, damaged or unsupported; one line that names the file.
    """
    levels = np.rint(images.read(path).color * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3)))


def content_key(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits. Raises RunError if it cannot be read."""
    try:
        state = os.stat(path)
        return _digest(os.fspath(path), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from error


@cache
def _digest(path: str, size: int, modified: int) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()


def _list_one(folder: Path, walked: set[str]) -> Iterator[Found]:
    if folder.is_file():
        yield Found(folder)
    elif folder.is_dir():
        yield from _walk(folder, _PARTS.get(os.path.basename(os.path.realpath(folder))), walked)
    else:
        raise UserError(f"no folder {folder}: give an existing folder of images")


def _walk(folder: Path, part: Split | None, walked: set[str]) -> Iterator[Found]:
    place = os.path.realpath(folder)
    if place in walked:  # a cyclic link, or a second link to the same folder
        return
    walked.add(place)
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror or error}") from error
    folders = [entry for entry in entries if entry.is_dir()]
    yield from (Found(file, part) for file in _image_files(entries) if not _has_hr(folders))
    for inner in _hr_of(folders):
        yield from _walk(inner, _PARTS.get(inner.name, part), walked)


def _image_files(entries: Iterable[Path]) -> Iterator[Path]:
    return (entry for entry in entries if entry.suffix.lower() in images.FORMATS and entry.is_file())


def _has_hr(folders: Sequence[Path]) -> bool:
    return any(folder.name in _HR_ONLY for folder in folders)


def _hr_of(folders: Sequence[Path]) -> Sequence[Path]:
    return [folder for folder in folders if folder.name in _HR_ONLY] if _has_hr(folders) else folders
