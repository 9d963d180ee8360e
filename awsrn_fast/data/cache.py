"""Cache of decoded images in memory-mapped files, so that training never waits for a decoder.

A cache file is named by its inputs (SHA-256 of the image file's bytes, scale, degradation) and created atomically by a
rename, so it is never stale or partial, and several processes may fill one cache at once.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import overload

import numpy as np

from awsrn_fast.errors import RunError, UserError
from awsrn_fast.files import remove_leftovers, replacing
from awsrn_fast.limits import cpus

from .degrade import Degradation, make_lr
from .folder import Found, Split, choose, content_key, find_lr, list_images, read_rgb
from .resize import crop_to_multiple

FORMAT = 1
"""Cache format version; increased with every change of format, so that older files are ignored."""

WORKERS = min(4, cpus())
# Pillow's pixel limit and Python's warning filters, which reading changes temporarily, are global to the process.
_decoding = threading.Lock()


@dataclass(frozen=True)
class Photo:
    """One image at both resolutions; read-only maps of files."""

    name: str
    lr: np.ndarray
    """uint8 [h, w, 3]."""
    hr: np.ndarray
    """uint8 [scale * h, scale * w, 3]."""


@dataclass(frozen=True)
class _Entry:
    path: Path
    hr: Path
    lr: Path


class Photos(Sequence[Photo]):
    """The images of some folders at one scale. Small and picklable: it holds file names, the maps are opened on use."""

    def __init__(self, entries: Sequence[_Entry], scale: int, skipped: Sequence[str], remarks: Sequence[str]):
        self.scale = scale
        self.skipped = list(skipped)
        """A line for each image that could not be used."""
        self.remarks = list(remarks)
        """Lines that the user should see."""
        self._entries = list(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> list[Photo]: ...
    def __getitem__(self, index: int | slice) -> Photo | list[Photo]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        entry = self._entries[index]
        lr = mapped(entry.lr)
        height, width = lr.shape[:2]
        return Photo(entry.path.stem, lr, mapped(entry.hr)[: height * self.scale, : width * self.scale])

    def only(self, indices: Sequence[int]) -> Photos:
        """A subset of the photos."""
        return Photos([self._entries[i] for i in indices], self.scale, self.skipped, self.remarks)

    def without(self, others: Photos) -> Photos:
        """The photos without those whose bytes are also in ``others``."""
        known = {entry.hr for entry in others._entries}
        return self.only([i for i, entry in enumerate(self._entries) if entry.hr not in known])

    @property
    def fingerprint(self) -> str:
        """Number and SHA-256 of the images' contents, in order; equal fingerprints mean equal samples."""
        names = "\n".join(f"{entry.hr.name} {entry.lr.name}" for entry in self._entries)
        return f"{len(self)} images, {sha256(names.encode()).hexdigest()[:16]}"

    @property
    def files(self) -> list[Path]:
        """The image files, in the order of the photos."""
        return [entry.path for entry in self._entries]

    def beside(self, index: int, name: str) -> Path:
        """Cache path of data derived from photo ``index``; ``name`` distinguishes them."""
        entry = self._entries[index]
        return entry.lr.with_name(f"{entry.hr.stem}-{entry.lr.stem}-x{self.scale}-{name}.npy")


def cache_folder() -> Path:
    """``AWSRN_FAST_CACHE``, or else ``awsrn_fast`` in the user's cache folder: ``XDG_CACHE_HOME`` or ~/.cache, or for
    a user without a home the folder for temporary files.

    Raises:
        UserError: AWSRN_FAST_CACHE names the home of a user who has none.
    """
    if chosen := os.environ.get("AWSRN_FAST_CACHE"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise UserError(f"AWSRN_FAST_CACHE={chosen}: {error}") from error
    if place := os.environ.get("XDG_CACHE_HOME"):
        return Path(place) / "awsrn_fast"
    try:
        return Path.home() / ".cache" / "awsrn_fast"
    except RuntimeError:  # neither HOME nor an entry in the password file, as in a container under any user's number
        return Path(tempfile.gettempdir()) / f"awsrn_fast-{os.getuid()}"


def open_photos(
    folders: Sequence[str | os.PathLike],
    scale: int,
    *,
    degradation: Degradation | None = None,
    split: Split | None = None,
    least: int = 0,
    lr_folder: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Photos:
    """Decode the images of some folders into the cache, where they are not there yet, and open them.

    Args:
        folders: see :func:`find_images`.
        scale: whole factor; HR images are cropped to a multiple of it at the bottom and right.
        degradation: how LR is made from HR; None for bicubic alone.
        split: see :func:`find_images`; images that cannot be used are left out before the split.
        least: minimum side of a validation image, HR pixels; smaller ones are not held out.
        lr_folder: take LR from files (see :func:`find_lr`) instead of downscaling HR.
        cache_dir: where the cache is; None for :func:`cache_folder`.
        progress: called with (images done, images in all).

    Raises:
        UserError: a folder does not exist or no image is usable.
        RunError: the cache cannot be written (no rights, disk full).
    """
    if lr_folder is not None and degradation not in (None, Degradation()):
        raise UserError("a degradation cannot be applied to LR images from a folder: leave one of the two out")
    folder = Path(cache_dir or cache_folder()) / f"images-{FORMAT}"
    found = list_images(folders)
    remove_leftovers(folder)

    def prepare(image: Found) -> _Entry | str:
        return _prepare(image.path, scale, degradation or Degradation(), lr_folder, folder)

    results: list[_Entry | str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for result in pool.map(prepare, found):
            results.append(result)
            if progress:
                progress(len(results), len(found))
    entries = {image: result for image, result in zip(found, results, strict=True) if isinstance(result, _Entry)}
    skipped = [result for result in results if isinstance(result, str)]
    if not entries:
        raise UserError(f"none of the {len(found)} images can be used; the first: {skipped[0]}")
    remarks = ["only one image: it is used for both training and validation"] if split and len(entries) == 1 else []
    small = [image for image, entry in entries.items() if split and scale * min(mapped(entry.lr).shape[:2]) < least]
    if split == "valid" and small:
        named = ", ".join(str(image.path) for image in small[:3]) + (", ..." if len(small) > 3 else "")
        remarks.append(f"{len(small)} images of less than {least} pixels are too small to validate on: {named}")
    return Photos([entries[image] for image in choose(list(entries), split, small)], scale, skipped, remarks)


def stored(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in cache file ``path``, memory-mapped read-only; computed and written first if absent."""
    try:
        return mapped(path)
    except (OSError, ValueError, EOFError):  # missing or damaged
        array = make()
    buffer = io.BytesIO()
    np.save(buffer, array)
    try:
        with replacing(path) as beside:
            beside.write_bytes(buffer.getbuffer())
    except RunError as error:
        raise CacheError(f"{error}; AWSRN_FAST_CACHE names a folder with room for the image cache") from error
    return mapped(path)


class CacheError(RunError):
    """The cache folder cannot be written."""


# Every map holds a file descriptor, of which a process often has no more than 1024.
@lru_cache(maxsize=256)
def mapped(path: Path) -> np.ndarray:
    """A .npy file, memory-mapped read-only."""
    return np.load(path, mmap_mode="r")


def _prepare(path: Path, scale: int, degradation: Degradation, lr_folder, folder: Path) -> _Entry | str:
    """Cache files of one image, or one line on why it cannot be used."""
    try:
        hr_path, hr = _decoded(path, folder)
        cropped = crop_to_multiple(hr, scale)
        if not cropped.size:
            return f"{path}: {hr.shape[1]}x{hr.shape[0]} pixels is less than one pixel at scale {scale}"
        if lr_folder is None:
            lr_path = folder / f"{hr_path.stem}-x{scale}-{degradation.key}.npy"
            stored(lr_path, lambda: make_lr(np.asarray(cropped), scale, degradation))
            return _Entry(path, hr_path, lr_path)
        lr_path, lr = _decoded(find_lr(lr_folder, path, scale), folder)
    except CacheError:
        raise
    except RunError as error:
        return str(error)
    expected = (cropped.shape[0] // scale, cropped.shape[1] // scale)
    if lr.shape[:2] != expected:
        return f"{path}: its LR image is {lr.shape[1]}x{lr.shape[0]}, expected {expected[1]}x{expected[0]} at x{scale}"
    return _Entry(path, hr_path, lr_path)


def _decoded(path: Path, folder: Path) -> tuple[Path, np.ndarray]:
    def decode() -> np.ndarray:
        with _decoding:
            return read_rgb(path)

    where = folder / f"{content_key(path)[:32]}.npy"
    return where, stored(where, decode)
