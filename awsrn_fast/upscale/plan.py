"""Mapping of input files to output files; all problems with paths are found before any computation."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from awsrn_fast.errors import UserError
from awsrn_fast.images import FORMATS

from . import fields
from .walk import LeftOut, images_below

_NAMED = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "avif": ".avif",
    "heic": ".heic",
}
SUFFIXES = {name: suffix for name, suffix in _NAMED.items() if suffix in FORMATS}
"""File suffix of each value of --format."""


@dataclass(frozen=True)
class Job:
    """One image to read and the file to write."""

    source: Path
    target: Path
    problem: str = ""
    """Why it cannot be read, where that is known before."""
    field: fields.Field = fields.IMAGE
    peers: tuple[Path, ...] = ()
    """All inputs of the run that are of the same field, other shards' included; empty for images."""


def plan(
    inputs: Sequence[str | os.PathLike],
    out: str | os.PathLike | None,
    format: str | None,
    overwrite: bool,
    part: slice = slice(None),
    say: Callable[[str], None] = lambda text: None,
    ending: str = "",
) -> list[Job]:
    """The jobs, in the order of the inputs and by name within a folder; of these the ``part`` that is wanted.

    Without ``out`` (None) the result is written next to each file or folder, under its name with ``ending``. With it,
    one file goes to ``out`` itself where that names an image, else (no suffix, a trailing separator, a folder that is
    there) into it. Several files or a folder need a folder; what lies below an input folder keeps its relative path.
    Names and formats stay those of the inputs unless ``format`` (a key of SUFFIXES) is given; an image without one of
    the known suffixes becomes PNG. Within a folder only known suffixes count, and files of the other fields by their
    contents (see :mod:`.fields`); other files and linked folders are left out, which ``say`` reports in one line, and
    so are hidden files and ``out`` itself where it lies within. A folder that cannot be listed is a job with a problem.

    Raises:
        UserError: a missing input, no image at all, ``out`` unfit, two inputs with the same target, a target that is
            an input, or one that exists without ``overwrite``.
    """
    sources = [Path(name) for name in inputs]
    for source in sources:
        if not os.path.exists(source):  # False also for names that no file system accepts, where Path raises
            raise UserError(f"no such file or folder: {source}")
    folder_wanted, left_out = len(sources) > 1 or sources[0].is_dir(), LeftOut()
    if out is None:
        jobs = [job for source in sources for job in _beside(source, format, ending, left_out)]
    elif folder_wanted or _names_folder(out):
        jobs = _into_folder(sources, Path(out), format, left_out)
    else:
        jobs = [_single(sources[0], Path(out), format)]
    if not jobs:
        others = f"; {left_out}" if left_out else ""
        raise UserError(f"no images in {', '.join(map(str, sources))} (looked for {' '.join(FORMATS)}{others})")
    if left_out:
        say(str(left_out))
    jobs = _with_peers(list(dict.fromkeys(jobs)))
    _refuse_shared_targets(jobs)
    # Not those of other shards, which may be running.
    mine = jobs[part]
    _refuse_targets_that_exist(mine, {_identity(job.source): job.source for job in jobs}, overwrite)
    _refuse_unwritable(mine)
    return mine


def readable(jobs: list[Job]) -> list[Job]:
    """The jobs that have no problem so far."""
    return [job for job in jobs if not job.problem]


def _names_folder(out: str | os.PathLike) -> bool:
    text = os.fspath(out)
    ends_open = text.endswith(("/", os.sep)) or Path(text).name in ("", "..")
    return ends_open or os.path.isdir(text) or not Path(text).suffix


def _with_peers(jobs: list[Job]) -> list[Job]:
    peers = {
        field: tuple(job.source for job in readable(jobs) if job.field is field)
        for field in {job.field for job in jobs} - {fields.IMAGE}
    }
    return [replace(job, peers=peers.get(job.field, ())) for job in jobs]


def _single(source: Path, out: Path, format: str | None) -> Job:
    field = fields.field_of(source, out.suffix)
    suffixes = tuple(FORMATS) if field is fields.IMAGE else field.suffixes
    if out.suffix.lower() not in suffixes:
        raise UserError(
            f"cannot write {out}: the suffix must be one of {' '.join(suffixes)}, or end it with / for a folder"
        )
    _refuse_format(source, field, format)
    if format is not None and FORMATS[out.suffix.lower()] != FORMATS[SUFFIXES[format]]:
        raise UserError(f"--format {format} does not fit the name {out}: leave out one of the two")
    return Job(source, out, field=field)


def _refuse_format(source: Path, field: fields.Field, format: str | None) -> None:
    if format is not None and field is not fields.IMAGE and not field.images:
        raise UserError(f"--format {format} is for images, and {source} is {field.title}: leave it out")


def _job(source: Path, named: Path, ending: str, format: str | None, problem: str = "") -> Job:
    """The job whose output has the name ``named`` with ``ending`` and the suffix of its field and format."""
    field = fields.IMAGE if problem else fields.field_of(source, SUFFIXES[format] if format else None)
    _refuse_format(source, field, format)
    if field is fields.IMAGE:
        return Job(source, named.with_name(named.stem + ending + _suffix(named, format)), problem)
    return Job(source, named.with_name(field.name(named.name, ending)), field=field)


def _beside(source: Path, format: str | None, ending: str, left_out: LeftOut) -> list[Job]:
    # The path as given, except one like "." or "..", which has no final name.
    named = source if source.name not in ("", "..") else source.resolve()
    if source.is_dir():
        return _into_folder([source], named.with_name(named.name + ending), format, left_out)
    return [_job(source, named, ending, format)]


def _suffix(source: Path, format: str | None) -> str:
    known = source.suffix.lower() in FORMATS
    return SUFFIXES[format] if format else source.suffix if known else ".png"


def _into_folder(sources: list[Path], out: Path, format: str | None, left_out: LeftOut) -> list[Job]:
    if os.path.exists(out) and not os.path.isdir(out):
        raise UserError(f"{out} is a file; several images need a folder")
    if out.suffix.lower() in (*FORMATS, *fields.suffixes()) and not os.path.isdir(out):
        raise UserError(f"{out} names one image; several images need a folder")
    jobs = []
    for source in sources:
        files = images_below(source, out, left_out) if source.is_dir() else [(source, Path(source.name), "")]
        for file, relative, problem in files:
            jobs.append(_job(file, out / relative, "", format, problem))
    return jobs


def _refuse_shared_targets(jobs: list[Job]) -> None:
    taken: dict[str, Job] = {}
    places: dict[str, Job] = {}
    for job in readable(jobs):
        twin = places.setdefault(os.path.realpath(job.target), job)
        if twin.target != job.target:
            raise UserError(f"{twin.target} and {job.target} are links to one file: choose another -o")
        # Names that differ in case or in Unicode normalisation are the same file on some file systems.
        key = unicodedata.normalize("NFKC", str(job.target)).casefold()
        other = taken.setdefault(key, job)
        if not _same(other.source, job.source) and _one_file(other.target, job.target):
            raise UserError(
                f"{other.source} and {job.source} would both become {job.target}: rename one, leave out --format, "
                "or upscale them into different folders"
            )


def _one_file(first: Path, second: Path) -> bool:
    """Whether two paths equal after case folding are one file on their file system, found by trying."""
    if first == second:
        return True
    there = first.parent
    while not (os.path.isdir(there) and second.is_relative_to(there)):
        if there == there.parent:
            return False
        there = there.parent
    with suppress(OSError), tempfile.TemporaryDirectory(dir=there, prefix=".") as folder:
        for path in (first, second):
            place = folder / path.relative_to(there)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                return True
            place.touch()
    return False


def _same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)  # Path.resolve raises for cyclic links


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # absent, or an invalid name for the file system: writing will report it
        return None
    return status.st_dev, status.st_ino


def _refuse_targets_that_exist(jobs: list[Job], inputs: dict, overwrite: bool) -> None:
    present = []
    for job in readable(jobs):
        identity = _identity(job.target)
        if identity is None:
            continue
        if identity in inputs:
            raise UserError(f"{job.target} would overwrite the input {inputs[identity]}: choose another -o")
        if job.target.is_dir():
            raise UserError(f"{job.target} is a folder; an image of that name cannot be written")
        present.append(job.target)
    if present and not overwrite:
        more = f" (and {len(present) - 1} more)" if len(present) > 1 else ""
        raise UserError(f"{present[0]} exists{more}: give --overwrite to replace, or choose another -o")


def _refuse_unwritable(jobs: list[Job]) -> None:
    for folder in dict.fromkeys(job.target.parent for job in jobs):
        there = folder
        while not os.path.exists(there):
            there = there.parent
        if not os.path.isdir(there):
            raise UserError(f"cannot write into {folder}: {there} is a file")
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise UserError(f"cannot write into {folder}: no permission for {there}")
