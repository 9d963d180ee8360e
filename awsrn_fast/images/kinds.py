"""File types by signature, and properties that decoders do not report."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"\0\0\x01\0", "icon"),
    (b"qoif", "QOI"),
    (b"DDS ", "DirectDraw"),
    (b"SIMPLE  =", "FITS"),
    (b"FUJIFILMCCD-RAW", "raw photograph (RAF)"),
    (b"IIRO", "raw photograph (ORF)"),
    (b"IIU\0", "raw photograph (RW2)"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"CDF", "NetCDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "raw photograph (CR3)", b"jxl ": "JPEG XL"}
_HEIF = (b"hei", b"hev", b"mif", b"msf", b"heix")
_NETPBM = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF")
READ = ("PNG", "JPEG", "WebP", "TIFF", "BMP", "AVIF", "HEIF")


def kind_of(path: Path) -> str | None:
    """Name of the file type, by its signature; None: unknown."""
    with open(path, "rb") as file:
        head = file.read(132)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        brands = [head[at : at + 4] for at in (8, *range(16, min(128, int.from_bytes(head[:4], "big")), 4))]
        known = next((name for brand, name in _BRANDS.items() if brand in brands), None)
        return known or ("HEIF" if any(brand[:3] in _HEIF for brand in brands) else "film")
    if head[128:] == b"DICM":
        return "DICOM"
    if head[:2] in _NETPBM and head[2:3].isspace():
        return "Netpbm"
    return next((name for beginning, name in _BEGINNINGS if head.startswith(beginning)), None)


def jpeg_precision(path: Path) -> int | None:
    """Bits per sample by the frame header; None: there is none."""
    with open(path, "rb") as file:
        file.seek(2)
        while len(head := file.read(4)) == 4 and head[0] == 0xFF:
            marker, length = head[1], int.from_bytes(head[2:], "big")
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return (file.read(1) or b"\0")[0]
            file.seek(length - 2, 1)
    return None


def is_lossless_webp(path: Path) -> bool:
    """Whether a WebP file is losslessly compressed."""
    with open(path, "rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8 ", b"VP8L"):
                return head[:4] == b"VP8L"
            length = int.from_bytes(head[4:], "little")
            file.seek(length + length % 2, 1)
    return False


class Boxes(NamedTuple):
    """Properties of the images in an AVIF or HEIF file, from its boxes."""

    bits: int
    """The most bits that a sample of one has."""
    cicp: bytes | None
    """Code points of the colours where these are neither sRGB's nor left open, as PNG's cICP has them."""
    gain_map: bool


def boxes_of(path: Path) -> Boxes:
    """The boxes of a file with the signature of AVIF or HEIF. Raises struct.error or ValueError if damaged."""
    bits, cicp, gain_map = 8, None, False
    with open(path, "rb") as file:
        for name, data in _boxes(file, 0, path.stat().st_size):
            if name == b"pixi" and len(data) > 5:
                bits = max(bits, *data[5 : 5 + data[4]])
            elif name == b"av1C" and len(data) > 2:
                bits = max(bits, 8 if not data[2] & 0x40 else 12 if data[2] & 0x20 else 10)
            elif name == b"colr" and data[:4] == b"nclx" and len(data) >= 11:
                primaries, transfer, _ = struct.unpack_from(">HHH", data, 4)
                if transfer in (16, 18) or primaries not in (1, 2):
                    cicp = bytes((primaries & 255, transfer & 255, 0, 1))
            elif (name == b"ftyp" and b"tmap" in data) or (name == b"auxC" and b"hdrgainmap" in data):
                gain_map = True
    return Boxes(bits, cicp, gain_map)


_HOLDING = {b"meta": 4, b"iprp": 0, b"ipco": 0}
"""Container boxes, and the bytes before their first child."""
_LONGEST = 4096


def _boxes(file: BinaryIO, at: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= end:
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        size = end - at if size == 0 else size
        if size < head or at + size > end:
            return
        if name in _HOLDING and depth < 4:
            yield from _boxes(file, at + head + _HOLDING[name], at + size, depth + 1)
        elif size <= _LONGEST:
            yield name, file.read(size - head)
        at += size


def profile_of_bmp(path: Path) -> bytes | None:
    """The colour profile that a BMP of version 5 holds."""
    with open(path, "rb") as file:
        head = file.read(14 + 124)
        if len(head) < 138 or head[14 + 56 : 14 + 60] != b"DEBM" or int.from_bytes(head[14:18], "little") < 124:
            return None
        offset, length = struct.unpack_from("<II", head, 14 + 112)
        file.seek(14 + offset)
        return file.read(length) if 128 <= length <= _LARGEST_PROFILE else None


_LARGEST_PROFILE = 2**26
