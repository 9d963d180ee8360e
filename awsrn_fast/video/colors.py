"""Pixels of frames: from the film's format to RGB and back, by its own matrix and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

_UNSPECIFIED, _BT709, _BT601, _BT2020, _BT2020_CONSTANT = 2, 1, 6, 9, 10
_LIMITED, _FULL = 1, 2
_HIGH_DEFINITION = 720
"""Rows from which players take an unspecified matrix for BT.709."""
_SCALER = {_BT709: 1, 4: 4, 5: 5, _BT601: 5, 7: 7, _BT2020: 9, _BT2020_CONSTANT: 9}
"""FFmpeg's colour spaces as its scaler numbers them."""


@dataclass(frozen=True)
class Colors:
    """How a film stores its colours, in FFmpeg's numbers.

    Attributes:
        format: name of the pixel format.
        bits: of a component.
        matrix, range, primaries, transfer: tags; 2, 0, 2, 2 are unspecified.
        rows: height, by which an unspecified matrix is guessed.
    """

    format: str
    bits: int
    matrix: int
    range: int
    primaries: int
    transfer: int
    rows: int

    @property
    def is_rgb(self) -> bool:
        return self.format.startswith(("rgb", "bgr", "gbr", "argb", "abgr"))

    @property
    def top(self) -> int:
        """Largest number of the RGB samples here: films of more than 8 bits are taken as 16."""
        return 255 if self.bits <= 8 else 65535

    @property
    def known_matrix(self) -> int:
        """The matrix, guessed as players do where it is not said; so a larger picture keeps its colours."""
        if self.matrix in _SCALER:
            return self.matrix
        return _BT709 if self.rows >= _HIGH_DEFINITION else _BT601

    @property
    def known_range(self) -> int:
        if self.range in (_LIMITED, _FULL):
            return self.range
        return _FULL if self.is_rgb or self.format.startswith("yuvj") else _LIMITED

    def rgb(self, frame: VideoFrame) -> np.ndarray:
        """uint8 or uint16 ``[H, W, 3]``, full range."""
        format = "rgb24" if self.top == 255 else "rgb48le"
        made = frame.reformat(
            format=format,
            src_colorspace=_SCALER[self.known_matrix],
            src_color_range=self.known_range,
            dst_color_range=_FULL,
            interpolation=_how(),
            threads=1,
        )
        return made.to_ndarray()

    def frame(self, rgb: np.ndarray, format: str) -> VideoFrame:
        """A frame of the pixel format, with the film's tags."""
        from av import VideoFrame

        made = VideoFrame.from_ndarray(rgb, format="rgb24" if rgb.dtype == np.uint8 else "rgb48le")
        if not format.startswith(("rgb", "gbr", "bgr")):
            made = made.reformat(
                format=format,
                dst_colorspace=_SCALER[self.known_matrix],
                src_color_range=_FULL,
                dst_color_range=self.known_range,
                interpolation=_how(),
                threads=1,
            )
            made.colorspace = self.known_matrix
        else:
            made = made.reformat(format=format, interpolation=_how(), threads=1)
        made.color_range = self.known_range
        made.color_primaries, made.color_trc = self.primaries, self.transfer
        return made


def colors_of(frame: VideoFrame) -> Colors:
    """The colours of a film, by one of its frames."""
    bits = max(part.bits for part in frame.format.components)
    tags = [int(tag) for tag in (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)]
    return Colors(frame.format.name, bits, tags[0], tags[1], tags[2], tags[3], frame.height)


def _how() -> object:
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
