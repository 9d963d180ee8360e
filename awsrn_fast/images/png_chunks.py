"""The chunks of a PNG file: pixel format, offsets of the pixel data, and metadata."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .extras import MOST_RESOLUTION, Extras, Resolution
from .picture import BYTES, WORDS, Samples

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
_DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
# Safe to copy at any size and pixel format; for others the standard's safe-to-copy bit decides.
_COPIED = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sTER")
_IN_PIXELS = (b"oFFs", b"vpAg")
_OF_THE_FILE = (b"fcTL", b"fdAT", b"iDOT")
"""Chunks that are never copied: an animation's (announced by acTL), and the row index of Apple's decoder."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_LARGEST = 2**24
"""Most bytes of a metadata chunk, compressed and decompressed."""
_LARGEST_TOTAL = 2**25
_XMP, _RAW = b"XML:com.adobe.xmp", b"Raw profile type "


@dataclass
class Facts:
    """Contents of a PNG file's chunks."""

    height: int = 0
    width: int = 0
    depth: int = 8
    kind: int = RGB
    interlaced: bool = False
    palette: bytes = b""
    transparency: bytes | None = None
    """Content of tRNS: a gray value, a colour, or alpha of the palette's entries."""
    frames: int = 1
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Offset and length of the data of each IDAT."""
    icc: bytes | None = None
    exif: bytes = b""
    extras: Extras = field(default_factory=Extras)
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> Samples:
        return WORDS if self.depth == 16 else BYTES

    @property
    def gray(self) -> bool:
        return self.kind in (GRAY, GRAY_ALPHA)

    @property
    def alpha(self) -> bool:
        return self.kind in (GRAY_ALPHA, RGBA) or self.transparency is not None

    @property
    def in_rows(self) -> bool:
        """Whether ``PngRows`` can read it: 8 or 16 bits, not interlaced, without palette and transparent colour."""
        return self.depth >= 8 and not self.interlaced and self.kind != PALETTE and self.transparency is None


def is_png(path: Path) -> bool:
    """Whether the file has PNG's signature."""
    with open(path, "rb") as file:
        return file.read(8) == SIGNATURE


def facts(path: Path) -> Facts:
    """The facts in the chunks of a file with PNG's signature. Raises ValueError or struct.error if damaged."""
    found = _Parser()
    with open(path, "rb") as file:
        end, at = os.fstat(file.fileno()).st_size, len(SIGNATURE)
        while at < end:
            file.seek(at)
            length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\xff"))
            if at + 12 + length > end:
                raise ValueError("the file ends early")
            if at == len(SIGNATURE) and name != b"IHDR":
                raise ValueError("no header")
            at += 12 + length
            if name == b"IEND":
                if end > at:
                    found.note("what follows the image in the file is left out")
                break
            found.chunk(name, length, file)
    return found.done()


class _Parser:
    def __init__(self) -> None:
        self.facts, self.total = Facts(), 0
        self.notes: dict[str, None] = {}
        self.unknown: dict[str, None] = {}
        self.chunks: list[tuple[bytes, bytes]] = []
        self.raw: dict[bytes, bytes] = {}

    def note(self, text: str) -> None:
        self.notes[text] = None

    def chunk(self, name: bytes, length: int, file: BinaryIO) -> None:
        if name == b"IDAT":
            self.facts.parts.append((file.tell(), length))
            return
        shown = name.decode("ascii", "backslashreplace")
        self.total += length
        if length > _LARGEST or self.total > _LARGEST_TOTAL:
            self.note(f"{shown} of {length} bytes is left out")
            return
        data = file.read(length)
        if zlib.crc32(data, zlib.crc32(name)) != int.from_bytes(file.read(4), "big"):
            if name in _NEEDED:
                raise ValueError(f"wrong checksum of {shown}")
            self.note(f"{shown} has a wrong checksum and is left out")
            return
        try:
            self._read(name, data, shown)
        except (ValueError, IndexError, struct.error, zlib.error) as error:
            if not name[0] & 32:
                raise
            self.note(f"{shown} is damaged and left out ({error})")

    def _read(self, name: bytes, data: bytes, shown: str) -> None:
        facts = self.facts
        if name == b"IHDR":
            facts.width, facts.height, facts.depth, facts.kind, *methods = struct.unpack(">IIBBBBB", data)
            facts.interlaced = methods == [0, 0, 1]
            if methods[:2] != [0, 0] or methods[2] > 1:
                raise ValueError("compression, filter or interlacing that is not of the standard")
            if facts.depth not in _DEPTHS.get(facts.kind, ()):
                raise ValueError(f"no PNG has {facts.depth} bits of colour type {facts.kind}")
        elif name == b"PLTE":
            facts.palette = data
        elif name == b"tRNS":
            self._transparency(data)
        elif name == b"acTL":
            facts.frames = struct.unpack_from(">I", data)[0]
        elif name == b"iCCP":
            facts.icc = unpacked(data[data.index(b"\0") + 2 :])
        elif name == b"eXIf":
            facts.exif = b"Exif\0\0" + data
        elif name == b"pHYs":
            x, y, unit = struct.unpack(">IIB", data)
            if not (0 < x < MOST_RESOLUTION and 0 < y < MOST_RESOLUTION):
                raise ValueError(f"{x}x{y} pixels a metre")
            facts.extras = Extras(Resolution(x, y, "m" if unit == 1 else ""))
        elif name in _TEXTS:
            self._text(name, data)
        elif name == b"sBIT":
            self.note("significant bits (sBIT) are left out: the result uses all")
        elif name in _OF_THE_FILE:
            pass
        elif name in _COPIED or (name[0] & 32 and name[3] & 32 and name not in _IN_PIXELS):  # ancillary, safe to copy
            self.chunks.append((name, data))
        elif not name[0] & 32:
            raise ValueError(f"critical chunk {shown}, which is not of the standard")
        else:
            self.unknown[shown] = None

    def _transparency(self, data: bytes) -> None:
        size = {GRAY: 2, RGB: 6}.get(self.facts.kind)
        if self.facts.kind in (GRAY_ALPHA, RGBA) or (size is not None and len(data) != size):
            raise ValueError("not of this kind of image")
        self.facts.transparency = data

    def _text(self, name: bytes, data: bytes) -> None:
        keyword, _, rest = data.partition(b"\0")
        if name == b"iTXt" and keyword == _XMP:
            packed, _, rest = rest[0], rest[1], rest[2:]
            text = rest.split(b"\0", 2)[2]
            self.raw[b"xmp"] = unpacked(text) if packed else text
        elif keyword.startswith(_RAW) and keyword[len(_RAW) :] in (b"exif", b"APP1", b"xmp"):
            # ImageMagick's and ExifTool's form: a line break, a name, a length, hexadecimal digits.
            text = unpacked(rest[1:]) if name == b"zTXt" else rest
            content = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
            if keyword.endswith(b"xmp") or content.startswith(b"http://ns.adobe.com/xap/"):
                self.raw[b"xmp"] = content.split(b"\0", 1)[-1] if content.startswith(b"http://ns.") else content
            else:
                self.raw[b"exif"] = content
        else:
            self.chunks.append((name, data))

    def done(self) -> Facts:
        facts = self.facts
        if not facts.parts:
            raise ValueError("no image data")
        if facts.kind == PALETTE and not facts.palette:
            raise ValueError("no palette")
        facts.exif = facts.exif or self.raw.get(b"exif", b"")
        facts.extras = Extras(facts.extras.resolution, self.raw.get(b"xmp"), chunks=tuple(self.chunks))
        if self.unknown:
            self.note(f"{', '.join(self.unknown)} left out")
        facts.notes = tuple(self.notes)
        return facts


def unpacked(data: bytes) -> bytes:
    """The data decompressed. Raises ValueError for an implausibly large result (decompression bomb)."""
    inflate = zlib.decompressobj()
    content = inflate.decompress(data, _LARGEST)
    if inflate.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {_LARGEST} bytes")
    if not inflate.eof:
        raise ValueError("it ends early")
    return content
