"""Upscaling of one film to another: frames are decoded, enlarged and encoded at once, in segments that are kept."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from queue import Queue
from shutil import rmtree
from threading import Event, Thread

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.files import write_text
from awsrn_fast.inference.enhance import Array
from awsrn_fast.inference.protocols import Enlarger

from .colors import colors_of
from .encoding import Encoding, Segment, encoding_of
from .flicker import Flicker
from .joining import join
from .reading import Decoder, Shot, ffmpeg, first_frame, opened

Result = tuple[tuple[int, int], tuple[int, int], tuple[str, ...]]
SEGMENT = 120
"""Frames of a segment, the most that a killed run loses."""
_AHEAD = 4
"""Frames that are decoded before their turn, and as many that wait to be encoded."""


def pixels(path: Path, max_pixels: int) -> int:
    """Number of pixels of all frames, as far as the header says. Raises RunError like :func:`upscale`."""
    with opened(path, max_pixels) as (film, stream):
        count = stream.frames
        if not count and film.duration:
            count = round(film.duration / 1e6 * float(stream.average_rate or 25))
        return max(count, 1) * stream.codec_context.height * stream.codec_context.width


def upscale(source: Path, target: Path, enlarger: Enlarger, args: Namespace, peers: tuple[Path, ...]) -> Result:
    """Read, upscale and write one film.

    Finished segments lie in a hidden folder beside the target until the film is whole; a run with the same input,
    weights and options goes on behind them.

    Args:
        source, target: the files.
        enlarger: the network with its options.
        args: the command's options.
        peers: not needed.

    Returns:
        (height, width) of the input and of the output, remarks for the user.

    Raises:
        RunError: input that is refused, too little memory, or a container that cannot hold a stream. Nothing is
            written then.
    """
    first = first_frame(source, args.max_pixels)
    with opened(source, args.max_pixels) as (film, stream):
        decoder = Decoder(source, film, stream, (first.height, first.width), colors_of(first), first.rotation)
        size = enlarger.size(*decoder.size)
        how = encoding_of(args, target, stream, decoder.colors, size, decoder.rate)
        work = _Work.at(target, source, enlarger, how, args)
        started, made = time.perf_counter(), 0
        with ffmpeg(source):
            made = work.fill(decoder, enlarger, how, args.frames)
        speed = made / max(time.perf_counter() - started, 1e-9)
    span = None if args.frames == (0, None) else work.span(stream.time_base)
    remarks = [f"{work.total} frames, {speed:.2f} frames/s"]
    if made < work.total:
        remarks.append(f"{work.total - made} were done before")
    damaged = sum(part.damaged for part in work.parts)
    if damaged:
        remarks.append(f"{damaged} damaged frames are concealed")
    remarks += [str(work.flicker), *join(work.paths, source, target, first.rotation, span)]
    rmtree(work.folder)
    return decoder.size, size, (*remarks, *enlarger.remarks)


@dataclass
class _Part:
    """What is known of a finished segment."""

    frames: int = 0
    damaged: int = 0
    first: int = 0
    end: int = 0
    flicker: Flicker = field(default_factory=Flicker)


@dataclass
class _Work:
    """The folder of the segments."""

    folder: Path
    parts: list[_Part] = field(default_factory=list)

    @classmethod
    def at(cls, target: Path, source: Path, enlarger: Enlarger, how: Encoding, args: Namespace) -> _Work:
        """The folder beside ``target``; segments that were made in another way are removed."""
        status = source.stat()
        made = f"{enlarger.identity} {how.kind} {args.frames} {SEGMENT} {status.st_size} {status.st_mtime_ns}"
        key = sha256(f"{source.resolve()} {made}".encode()).hexdigest()
        work = cls(target.with_name(f".{target.name}.segments"))
        known = work.folder / "key"
        if work.folder.exists() and not (known.exists() and known.read_text() == key):
            rmtree(work.folder)
        work.folder.mkdir(parents=True, exist_ok=True)
        write_text(known, key)
        while (facts := work._facts(len(work.parts))).exists():
            found = json.loads(facts.read_text())
            work.parts.append(_Part(**found | {"flicker": Flicker(**found["flicker"])}))
        return work

    @property
    def total(self) -> int:
        return sum(part.frames for part in self.parts)

    @property
    def paths(self) -> list[Path]:
        return [self._path(number) for number in range(len(self.parts))]

    @property
    def flicker(self) -> Flicker:
        total = Flicker()
        for part in self.parts:
            total += part.flicker
        return total

    def span(self, time_base: Fraction) -> tuple[Fraction, Fraction]:
        """Seconds at which the frames begin and end."""
        return self.parts[0].first * time_base, self.parts[-1].end * time_base

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.nut"

    def _facts(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def fill(self, decoder: Decoder, enlarger: Enlarger, how: Encoding, frames: tuple[int, int | None]) -> int:
        """Make the segments that are missing; returns the number of frames that were made."""
        done = self.total
        if self.parts and self.parts[-1].frames < SEGMENT:  # the last one of the film
            return 0
        skipped = decoder.size[0] * decoder.size[1] * done
        enlarger.advance(skipped)
        made = 0
        with _ahead(decoder.shots(frames[0] + done, frames[1])) as shots, ThreadPoolExecutor(1) as encoders:
            while (shot := next(shots, None)) is not None:
                damaged = decoder.damaged if self.parts else 0
                part = self._segment(shot, shots, enlarger, how, encoders)
                part.damaged = decoder.damaged - damaged
                self._keep(part)
                made += part.frames
        if not self.parts:
            raise RunError(f"{decoder.path}: --frames begins behind the last frame")
        return made

    def _keep(self, part: _Part) -> None:
        part.flicker.cut()
        facts = asdict(part)
        del facts["flicker"]["_last"]
        write_text(self._facts(len(self.parts)), json.dumps(facts))
        self.parts.append(part)

    def _segment(
        self, shot: Shot, shots: Iterator[Shot], enlarger: Enlarger, how: Encoding, encoders: ThreadPoolExecutor
    ) -> _Part:
        part, waiting = _Part(first=shot.pts), []
        with Segment(self._path(len(self.parts)), how) as segment:
            for each in chain((shot,), islice(shots, SEGMENT - 1)):
                waiting.append(_encoded(each, part, segment, enlarger, encoders))
                if len(waiting) > _AHEAD:
                    waiting.pop(0).result()
            for last in waiting:
                last.result()
        return part


def _encoded(shot: Shot, part: _Part, segment: Segment, enlarger: Enlarger, encoders: ThreadPoolExecutor) -> Future:
    large = _enlarged(shot.rgb, enlarger)
    part.flicker.add(shot.rgb, large)
    part.frames, part.end = part.frames + 1, shot.pts + shot.duration
    return encoders.submit(segment.write, shot, large)


def _enlarged(rgb: np.ndarray, enlarger: Enlarger) -> np.ndarray:
    top = np.iinfo(rgb.dtype).max
    unit = Array(rgb.astype(np.float32) / top)
    height, width = enlarger.size(*rgb.shape[:2])
    out = np.empty((height, width, 3), rgb.dtype)
    # Frames that wait, with their results.
    held = unit.values.nbytes + 2 * _AHEAD * (rgb.nbytes + out.nbytes)
    at = 0
    for rows in enlarger.rows(unit, held, top):
        out[at : at + len(rows)] = np.rint(np.clip(rows, 0, 1) * top)
        at += len(rows)
    return out


class _ahead:
    """Iterator whose items another thread makes, a few before they are needed; a context that ends it."""

    def __init__(self, items: Iterator[Shot]):
        self._items, self._stop = items, Event()
        self._queue: Queue[Shot | BaseException | None] = Queue(_AHEAD)
        self._thread = Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stop.is_set():
                    return
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def __enter__(self) -> _ahead:
        self._thread.start()
        return self

    def __iter__(self) -> _ahead:
        return self

    def __next__(self) -> Shot:
        found = self._queue.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            self._queue.put(None)
            raise StopIteration
        return found

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            if not self._queue.empty():
                self._queue.get()
            self._thread.join(0.01)
