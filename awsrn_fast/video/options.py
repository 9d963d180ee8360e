"""The options of ``upscale`` for films."""

from __future__ import annotations

import argparse

from awsrn_fast.arguments import whole


def add_options(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("films")
    group.add_argument(
        "--frames",
        type=frames,
        default=(0, None),
        metavar="A:B",
        help="only frames A to B, counted from 0, B left out; either may be empty",
    )
    group.add_argument(
        "--encoder",
        metavar="E",
        help="FFmpeg's name of an encoder, such as libx265, or ffv1 for no loss (default: libx264, in WebM libvpx-vp9)",
    )
    group.add_argument(
        "--crf",
        type=whole(0, 63),
        metavar="N",
        help="quality of the encoder, better and larger towards 0 (default: 16, of VP9 and AV1 24)",
    )
    group.add_argument(
        "--pixel-format", metavar="F", help="such as yuv420p10le (default: the input's, or the nearest the encoder has)"
    )


def frames(text: str) -> tuple[int, int | None]:
    """Option type: first frame, and the frame after the last (None: to the end)."""
    try:
        first, last = text.split(":")
        found = int(first or 0), int(last) if last else None
    except ValueError:
        raise argparse.ArgumentTypeError(f"frames are written like 100:200, not {text!r}") from None
    if found[0] < 0 or (found[1] is not None and found[1] <= found[0]):
        raise argparse.ArgumentTypeError(f"the frames are counted from 0, the second after the first, not {text!r}")
    return found
