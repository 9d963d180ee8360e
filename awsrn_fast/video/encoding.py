"""Encoding of frames, a segment of the film at a time."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing

from .colors import Colors
from .reading import Shot, ffmpeg

if TYPE_CHECKING:
    from av import VideoStream
    from av.container import OutputContainer

CONTAINER = "nut"
"""Of segments: it holds every codec and every time base, but no times before 0, which encoders' decoding times are."""
_LEAD = 3600
"""Seconds by which times are later in segments."""
_WEB = (".webm",)
_QUALITY = {"libx264": 16, "libx265": 16, "libvpx-vp9": 24, "libaom-av1": 24, "libsvtav1": 24}


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded.

    Attributes:
        encoder: FFmpeg's name.
        format: pixel format.
        options: the encoder's.
        size: (height, width).
        colors: the film's.
        rate, time_base, aspect: of the film's pictures.
    """

    encoder: str
    format: str
    options: tuple[tuple[str, str], ...]
    size: tuple[int, int]
    colors: Colors
    rate: Fraction
    time_base: Fraction
    aspect: Fraction

    @property
    def kind(self) -> str:
        """What distinguishes encodings whose segments do not fit together."""
        return repr(self)


def encoding_of(
    args: Namespace, target: Path, stream: VideoStream, colors: Colors, size: tuple[int, int], rate: Fraction
) -> Encoding:
    """The encoding that the options ask for. Raises UserError for an encoder or pixel format that there is not."""
    import av

    name = args.encoder or ("libvpx-vp9" if target.suffix.lower() in _WEB else "libx264")
    try:
        codec = av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(f"--encoder {name}: FFmpeg has no such encoder here") from error
    if codec.type != "video":
        raise UserError(f"--encoder {name}: that is not one for pictures")
    known = [each.name for each in codec.video_formats or ()]
    if args.pixel_format is not None and args.pixel_format not in known:
        raise UserError(f"--pixel-format {args.pixel_format}: {name} takes {', '.join(known)}")
    format = args.pixel_format or _nearest(colors, known, size)
    options = {} if name not in _QUALITY else {"crf": str(_QUALITY[name] if args.crf is None else args.crf)}
    if args.crf is not None and name not in _QUALITY:
        raise UserError(f"--crf: {name} has no such quality; leave it out")
    if name == "libvpx-vp9":
        options["b"] = "0"
    if name == "libx265":
        options["x265-params"] = "log-level=error"
    aspect = Fraction(stream.codec_context.sample_aspect_ratio or 1)
    return Encoding(name, format, tuple(options.items()), size, colors, rate, stream.time_base, aspect)


def _nearest(colors: Colors, known: list[str], size: tuple[int, int]) -> str:
    """The film's pixel format, or the one of the encoder's that loses least."""
    import av

    wanted = colors.format.replace("yuvj", "yuv")
    halves = av.VideoFormat(wanted)
    odd = (size[1] % 2 and halves.chroma_width(4) < 4) or (size[0] % 2 and halves.chroma_height(4) < 4)
    if wanted in known and not odd:
        return wanted
    full = [name for name in known if name.startswith(("yuv444p", "gbrp", "yuv420p"))]
    deep = [name for name in full if max(part.bits for part in av.VideoFormat(name).components) >= colors.bits]
    usable = [name for name in deep or full if not (odd and name.startswith("yuv420p"))]
    order = ("gbrp",) if colors.is_rgb else ("yuv444p",) if odd or "444" in wanted else ("yuv420p", "yuv444p")
    ranked = sorted(usable, key=lambda name: (not name.startswith(order), av.VideoFormat(name).components[0].bits))
    return ranked[0] if ranked else known[0] if known else wanted


def lead(time_base: Fraction) -> int:
    """What is added to timestamps in segments."""
    return round(_LEAD / time_base)


class Segment:
    """A part of the film that is being encoded: a context around its frames, written whole or not at all."""

    def __init__(self, path: Path, encoding: Encoding):
        self._path, self._encoding = path, encoding
        self._place = replacing(path)

    def __enter__(self) -> Segment:
        import av

        beside, how = self._place.__enter__(), self._encoding
        try:
            self._film: OutputContainer = av.open(str(beside), "w", format=CONTAINER)
            self._stream = self._film.add_stream(how.encoder, rate=how.rate, options=dict(how.options))
            stream = self._stream
            stream.height, stream.width = how.size
            stream.pix_fmt = how.format
            stream.time_base = stream.codec_context.time_base = how.time_base
            stream.codec_context.sample_aspect_ratio = how.aspect
            stream.codec_context.color_range = how.colors.known_range
            if not how.format.startswith(("rgb", "gbr", "bgr")):
                stream.codec_context.colorspace = how.colors.known_matrix
            stream.codec_context.color_primaries, stream.codec_context.color_trc = (
                how.colors.primaries,
                how.colors.transfer,
            )
            stream.codec_context.flags |= av.codec.context.Flags.global_header
        except BaseException as error:
            self._place.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def write(self, shot: Shot, rgb: np.ndarray) -> None:
        """The next frame: a shot's times with other pixels."""
        frame = self._encoding.colors.frame(rgb, self._encoding.format)
        frame.pts = shot.pts + lead(self._encoding.time_base)
        frame.time_base, frame.duration = self._encoding.time_base, shot.duration
        self._film.mux(self._stream.encode(frame))

    def __exit__(self, kind, error, trace) -> None:
        try:
            if error is None:
                with ffmpeg(self._path):
                    self._film.mux(self._stream.encode(None))
            self._film.close()
        except BaseException as failure:
            self._place.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._place.__exit__(kind, error, trace)
