"""Decoding of films: frames in the order of display, damage concealed and counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.images.windows import check_size, plainly

from .colors import Colors

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

_USUAL_RATE = Fraction(25)


@contextmanager
def ffmpeg(path: Path) -> Iterator[None]:
    """Context for PyAV: errors as one line that names the file. Raises RunError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise RunError(f"{path}: films are read with the package av: pip install '.[video]'") from error
    with plainly(path):
        try:
            yield
        except av.error.FFmpegError as error:
            raise ValueError(error.strerror or str(error)) from error


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A film and its pictures.

    Raises:
        RunError: damaged at its beginning, no pictures, more than ``max_pixels`` a frame.
    """
    with ffmpeg(path):
        import av

        # Only the file itself: playlists could name others, and the network.
        with av.open(str(path.resolve()), options={"protocol_whitelist": "file"}, metadata_errors="replace") as film:
            streams = [each for each in film.streams.video if "attached_pic" not in str(each.disposition)]
            if not streams:
                raise RunError(f"{path}: a film without pictures")
            stream = streams[0]
            check_size(path, stream.codec_context.height or 0, stream.codec_context.width or 0, max_pixels)
            if stream.codec_context.format is None:
                raise RunError(f"{path}: damaged, or pictures of a kind that FFmpeg does not decode")
            yield film, stream


def first_frame(path: Path, max_pixels: int) -> VideoFrame:
    """The first frame that can be decoded. Raises RunError if there is none."""
    with opened(path, max_pixels) as (film, stream):
        import av

        for packet in film.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            if frames:
                check_size(path, frames[0].height, frames[0].width, max_pixels)
                return frames[0]
    raise RunError(f"{path}: damaged: no frame can be decoded")


@dataclass
class Shot:
    """One frame: its number, its timestamp in the stream's time base, its duration there, its pixels."""

    number: int
    pts: int
    duration: int
    rgb: np.ndarray


@dataclass
class Decoder:
    """Frames of a film in the order of display.

    Attributes:
        path: the film.
        film, stream: as opened.
        size, colors, rotation: height and width (not turned), pixels and turn of the first frame: what the header says
            may be of another.
        damaged: number of frames that were concealed, so far.
    """

    path: Path
    film: InputContainer
    stream: VideoStream
    size: tuple[int, int]
    colors: Colors
    rotation: int
    damaged: int = 0

    @property
    def rate(self) -> Fraction:
        return self.stream.average_rate or self.stream.guessed_rate or _USUAL_RATE

    def shots(self, first: int, last: int | None) -> Iterator[Shot]:
        """Frames ``first`` to before ``last``, counted from 0.

        Raises:
            RunError: the pictures' size changes.
        """
        step = max(1, round(1 / (self.rate * self.stream.time_base)))
        number, before, held = 0, None, None
        for frame, lost in self._decoded():
            for pts in lost:  # shown by the frame before
                if held is not None and before is not None and pts > before and (frame is None or pts < frame.pts):
                    if number >= first:
                        yield Shot(number, pts, step, self.colors.rgb(held))
                    before, number = pts, number + 1
                    if number == last:
                        return
            if frame is None:
                break
            self._check_size(frame)
            pts = frame.pts if frame.pts is not None else frame.dts
            if pts is None or (before is not None and pts <= before):
                pts = 0 if before is None else before + step
            if number >= first:
                yield Shot(number, pts, frame.duration or step, self.colors.rgb(frame))
            held, before, number = frame, pts, number + 1
            if number == last:
                return

    def _decoded(self) -> Iterator[tuple[VideoFrame | None, list[int]]]:
        """Frames, and before each the timestamps of those that were lost; at last None with the rest of these."""
        import av

        context = self.stream.codec_context
        context.thread_count = 1
        context.flags |= av.codec.context.Flags.output_corrupt
        lost: list[int] = []
        packets = self.film.demux(self.stream)
        while True:
            packet = None
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
                if packet is None:  # the file ends in the middle
                    break
                if packet.pts is not None:
                    lost.append(packet.pts)
                continue
            if packet is None:
                break
            for frame in frames:
                self.damaged += bool(frame.is_corrupt)
                due = sorted(pts for pts in lost if frame.pts is None or pts < frame.pts)
                lost = [pts for pts in lost if pts not in due]
                yield frame, due
        yield None, sorted(lost)

    def _check_size(self, frame: VideoFrame) -> None:
        if (frame.height, frame.width) != self.size or frame.format.name != self.colors.format:
            when, (height, width) = timedelta(seconds=round(float(frame.time or 0), 3)), self.size
            raise RunError(
                f"{self.path}: at {when} the pictures change from {width}x{height} {self.colors.format} to "
                f"{frame.width}x{frame.height} {frame.format.name}; cut the film there"
            )
