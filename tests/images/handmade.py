"""Files of kinds that no library here writes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ wrong)


def png_bytes(array: np.ndarray, depth: int, kind: int, interlaced: bool = False, *extra: bytes) -> bytes:
    """A PNG of [H, W, planes] without filters; ``extra`` are chunks before the pixels."""
    height, width, _ = array.shape

    def rows(part: np.ndarray) -> bytes:
        if not part.size:
            return b""
        lines = part.reshape(part.shape[0], -1)
        if depth == 16:
            return b"".join(b"\0" + line.astype(">u2").tobytes() for line in lines)
        bits = np.unpackbits(lines.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        return b"".join(b"\0" + np.packbits(line).tobytes() for line in bits.reshape(len(lines), -1))

    data = b"".join(rows(array[y::down, x::right]) for x, y, right, down in _ADAM7) if interlaced else rows(array)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))
    pixels = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + pixels + chunk(b"IEND", b"")


_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 7: "s", 12: "d"}
Tags = dict[int, tuple[int, object]]


def tags_of(array: np.ndarray, photometric: int = 1, **more: object) -> Tags:
    """Tags of an array in one strip; ``t42113=(2, b"0")`` adds one."""
    planes = 1 if array.ndim == 2 else array.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    height, width = array.shape[:2]
    tags: Tags = {256: (4, [width]), 257: (4, [height]), 278: (4, [height])}
    tags |= {258: (3, [8 * array.itemsize] * planes), 259: (3, [1]), 262: (3, [photometric])}
    tags |= {277: (3, [planes]), 339: (3, [kind] * planes)}
    return tags | {int(name[1:]): value for name, value in more.items()}


def write_tiff(
    path: Path, *directories: tuple[Tags, list[bytes | None]], below: tuple[Tags, list[bytes]] | None = None
):
    """Little-endian directories of (tags, data of strips or tiles, None: absent); ``below`` is a sub-directory."""
    out = bytearray(b"II*\0\0\0\0\0")

    def put(data: bytes) -> int:
        out.extend(b"\0" * (len(out) % 2))
        out.extend(data)
        return len(out) - len(data)

    def directory(tags: Tags, strips: list[bytes | None], sub: int | None = None) -> tuple[int, int]:
        places = [(0, 0) if data is None else (put(data), len(data)) for data in strips]
        tiled = 322 in tags
        offsets, lengths = (324, 325) if tiled else (273, 279)
        tags = tags | {offsets: (4, [p for p, _ in places]), lengths: (4, [n for _, n in places])}
        if sub is not None:
            tags[330] = (4, [sub])
        body = b""
        for tag, (kind, values) in sorted(tags.items()):
            text = _FORMATS[kind] == "s"
            data = bytes(values) if text else struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
            inline = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", put(data))
            body += struct.pack("<HHI", tag, kind, len(values)) + inline
        return put(struct.pack("<H", len(tags)) + body + bytes(4)), len(out) - 4

    sub, link = directory(*below)[0] if below else None, 4
    for index, (tags, strips) in enumerate(directories):
        at, after = directory(tags, strips, sub if index == 0 else None)
        struct.pack_into("<I", out, link, at)
        link = after
    path.write_bytes(out)
