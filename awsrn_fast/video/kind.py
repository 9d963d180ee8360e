"""Recognition of films, without a library."""

from __future__ import annotations

from pathlib import Path

from awsrn_fast.images.kinds import kind_of

_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska and WebM
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"DKIF",
    b"YUV4MPEG2",
    b"nut/multimedia container",
    b"\x06\x0e\x2b\x34",  # MXF
)
_PACKET = 188
"""Bytes of a packet of an MPEG transport stream, each of which begins with the same byte."""


def is_video(path: Path) -> bool:
    """Whether a file is a film, by its signature."""
    with open(path, "rb") as file:
        head = file.read(2 * _PACKET + 1)
    if head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return True
    if len(head) > 2 * _PACKET and all(head[at] == 0x47 for at in (0, _PACKET, 2 * _PACKET)):
        return True
    return kind_of(path) == "film"
