"""Joining of encoded segments, and of what is copied from the input, without encoding again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing

from .encoding import lead
from .reading import ffmpeg

if TYPE_CHECKING:
    from av import Packet, Stream
    from av.container import InputContainer

_FROM_ZERO = (".mkv", ".webm")


def join(
    segments: Sequence[Path], source: Path, target: Path, rotation: int, span: tuple[Fraction, Fraction] | None
) -> tuple[str, ...]:
    """Write the film: the segments' pictures, and every other stream of the source with its packets as they are.

    Args:
        segments: files of encoded pictures, in order.
        source: where the other streams, metadata and chapters come from.
        target: the film.
        rotation: degrees by which players turn the pictures.
        span: seconds of the film that are wanted of the other streams; None: all.

    Returns:
        Remarks for the user.

    Raises:
        RunError: the target's container cannot hold one of the streams.
    """
    import av

    with (
        replacing(target) as beside,
        ffmpeg(target),
        av.open(str(source.resolve()), metadata_errors="replace") as film,
        av.open(str(segments[0])) as first,
        av.open(str(beside), "w", options=_options(target, first.streams.video[0].time_base)) as out,
    ):
        pictures = out.add_stream_from_template(first.streams.video[0])
        pictures.time_base = first.streams.video[0].time_base
        main = next(each for each in film.streams.video if "attached_pic" not in str(each.disposition))
        pictures.metadata.update(main.metadata)
        if rotation:
            pictures.set_display_rotation(rotation)
        copies = {each.index: _copy_of(each, out, target) for each in film.streams if each is not main}
        out.metadata.update(film.metadata)
        chapters = film.chapters()
        if chapters and span is None:
            out.set_chapters(chapters)
        coarse, earliest = False, Fraction(0)
        for packet, stream in _in_order(_pictures(segments), pictures, _others(film, copies, span)):
            packet.stream = stream
            exact = packet.pts * packet.time_base
            earliest = min(earliest, exact)
            out.mux(packet) if stream is not pictures else out.mux_one(packet)
            coarse = coarse or (stream is pictures and (exact / pictures.time_base).denominator != 1)
        step = pictures.time_base
    said = [f"{target.suffix} holds times in steps of {step} s, to which they are rounded"] if coarse else []
    if earliest < 0 and target.suffix.lower() in _FROM_ZERO:
        said.append(f"all times are {float(-earliest):.3f} s later: {target.suffix} holds none before 0")
    return tuple(said)


def _options(target: Path, time_base: Fraction) -> dict[str, str]:
    """MP4 and its kin write when a stream begins in steps of the whole film, which are milliseconds by default."""
    return {} if target.suffix.lower() in _FROM_ZERO else {"movie_timescale": str(time_base.denominator)}


def _copy_of(stream: Stream, out, target: Path) -> Stream:
    import av

    try:
        made = out.add_stream_from_template(stream)
    except (av.error.FFmpegError, ValueError, TypeError) as error:
        raise RunError(
            f"{target}: {target.suffix} cannot hold stream {stream.index} of the input ({stream.type}); write .mkv"
        ) from error
    made.metadata.update(stream.metadata)
    return made


def _pictures(segments: Sequence[Path]) -> Iterator[Packet]:
    """The packets of all segments, with decoding times of the joined film; each encoder began before its first."""
    import av

    shown: list[int] = []
    delay = 0
    for path in segments:
        with av.open(str(path)) as part:
            late = lead(part.streams.video[0].time_base)
            times = [packet.pts - late for packet in part.demux(video=0) if packet.size]
        ordered = sorted(times)
        while any(ordered[max(at - delay, 0)] > pts for at, pts in enumerate(times) if at >= delay):
            delay += 1
        shown += ordered
    step = min((after - before for before, after in pairwise(shown)), default=1)
    number = 0
    for path in segments:
        with av.open(str(path)) as part:
            for packet in part.demux(video=0):
                if not packet.size:
                    continue
                packet.pts -= late
                packet.dts = shown[number - delay] if number >= delay else shown[0] - (delay - number) * step
                number += 1
                yield packet


def _others(
    film: InputContainer, copies: dict[int, Stream], span: tuple[Fraction, Fraction] | None
) -> Iterator[tuple[Packet, Stream]]:
    for packet in film.demux(*(film.streams[index] for index in copies)) if copies else ():
        shown, decoded = packet.pts, packet.dts
        if shown is None and decoded is None:
            continue
        packet.pts = decoded if shown is None else shown
        packet.dts = shown if decoded is None else decoded
        when = (packet.pts or 0) * packet.time_base
        if span is None or span[0] <= when < span[1]:
            yield packet, copies[packet.stream.index]


def _in_order(
    pictures: Iterator[Packet], stream: Stream, others: Iterator[tuple[Packet, Stream]]
) -> Iterator[tuple[Packet, Stream]]:
    """All packets by their decoding times."""
    both = (((packet, stream) for packet in pictures), others)
    return heapq.merge(*both, key=lambda found: found[0].dts * found[0].time_base)
