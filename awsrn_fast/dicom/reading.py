"""Reading of DICOM: what is refused, and frames one after the other."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from awsrn_fast.errors import RunError
from awsrn_fast.images.windows import check_memory, check_size, plainly

from . import codestreams
from .stored import Stored

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_MOST_DEFLATED = 2**31
_NAMED = 3
"""Warnings of the library that are passed on."""
GRAY = ("MONOCHROME1", "MONOCHROME2")
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")
PALETTE = "PALETTE COLOR"


def library(path: Path) -> None:
    """Raise RunError where pydicom is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise RunError(f"{path}: DICOM is read with the package pydicom: pip install '.[dicom]'") from error


@dataclass(frozen=True, eq=False)
class Scan:
    """One DICOM file: its header, and what its pixels are.

    Attributes:
        path: the file.
        header: the data set without the pixels.
        stored: the type of the stored values, their range that of the bits.
        frames: number of frames.
        notes: what the user should know.
    """

    path: Path
    header: Dataset
    stored: Stored
    frames: int
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.header.Rows, self.header.Columns

    @property
    def photometric(self) -> str:
        return self.header.PhotometricInterpretation

    @property
    def gray(self) -> bool:
        return self.photometric in GRAY

    @property
    def planes(self) -> int:
        """1 gray or 3 RGB."""
        return 1 if self.gray else 3

    @property
    def big_endian(self) -> bool:
        return self.syntax == _BIG_ENDIAN

    @property
    def syntax(self) -> str:
        """UID of the transfer syntax."""
        meta = getattr(self.header, "file_meta", None)
        found = None if meta is None else meta.get("TransferSyntaxUID")
        if found:
            return str(found)
        implicit, little = self.header.original_encoding
        return _IMPLICIT if implicit else _EXPLICIT if little else _BIG_ENDIAN

    @property
    def resident(self) -> int:
        """Bytes that a decoded frame takes."""
        # As in the file, decoded, and as numbers.
        return 3 * self.size[0] * self.size[1] * self.planes * self.stored.allocated // 8

    def numbers(self) -> Iterator[np.ndarray]:
        """The stored values of each frame, ``[H, W, 1 or 3]``; colours as RGB.

        Raises:
            RunError: the pixels are damaged, or fewer than the header says.
        """
        from pydicom.pixels import apply_color_lut

        codestreams.check(self.path, self.header, self.syntax)
        count = 0
        with decoding(self.path):
            for words in self._words():
                if self.photometric == PALETTE:
                    yield _narrowed(apply_color_lut(words, self.header), self.stored.allocated)
                else:
                    yield (words if words.ndim == 3 else words[..., None]).astype(self.stored.dtype, copy=False)
                count += 1
                if count == self.frames:
                    break
        if count < self.frames:
            raise RunError(f"{self.path}: damaged: the header says {self.frames} frames, there are {count}")

    def _words(self) -> Iterator[np.ndarray]:
        import pydicom
        from pydicom.pixels import iter_pixels, pixel_array

        if self.syntax == DEFLATED:  # nothing can be skipped in it
            return iter_pixels(pydicom.dcmread(self.path))
        if self.frames == 1:  # iter_pixels fails where it corrects a sign (pydicom 3.0)
            return iter((pixel_array(self.path, index=0, transfer_syntax_uid=self.syntax),))
        return iter_pixels(self.path, transfer_syntax_uid=self.syntax)


def _narrowed(colors: np.ndarray, allocated: int) -> np.ndarray:
    return (colors >> 8 if colors.dtype == np.uint16 and allocated == 8 else colors).astype(f"<u{allocated // 8}")


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Context that turns the library's exceptions into one line, and silences its warnings."""
    with warnings.catch_warnings(), _plain(path):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _plain(path: Path) -> Iterator[None]:
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with plainly(path):
        try:
            yield
        except RuntimeError as error:  # a line for each decoder that was tried
            raise RuntimeError(" ".join(str(error).split())) from error
        except (BytesLengthException, InvalidDicomError) as error:
            raise ValueError(str(error)) from error


def opened(path: Path, max_pixels: int, memory_limit: int | None = None) -> Scan:
    """The header of a DICOM image.

    Raises:
        RunError: damaged, no image, more than ``max_pixels`` a frame or than ``memory_limit`` bytes, or of a kind that
            is not a picture; one line that names the file.
    """
    library(path)
    import pydicom

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with _plain(path):
            _refuse_bomb(path, memory_limit)
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            header.decode()
            scan = _scan(path, header)
    said = list(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))[:_NAMED]
    check_size(path, *scan.size, max_pixels)
    check_memory(path, scan.resident, memory_limit, "raise --memory-limit")
    return replace(scan, notes=(*scan.notes, *said))


def _refuse_bomb(path: Path, memory_limit: int | None) -> None:
    """Raise RunError for a deflated file that becomes too large: the library inflates it whole."""
    from pydicom.filereader import read_file_meta_info

    with open(path, "rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
    if read_file_meta_info(path).get("TransferSyntaxUID") != DEFLATED:
        return
    most = min(_MOST_DEFLATED, memory_limit or _MOST_DEFLATED)
    with open(path, "rb") as file:
        file.seek(132)  # the meta information, whose first element is its length
        length = int.from_bytes(file.read(12)[8:], "little")
        file.seek(132 + 12 + length)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while block := file.read(2**16):
            while block:
                size += len(inflater.decompress(block, 2**20))
                block = inflater.unconsumed_tail
                if size > most:
                    raise RunError(f"{path}: deflated data of more than {most / 1e9:.1f} GB, which is not inflated")


def _scan(path: Path, header: Dataset) -> Scan:
    kind = header.get("SOPClassUID")
    name = getattr(kind, "name", None) or "of an unknown class"
    if kind is None and "Rows" not in header:
        raise RunError(f"{path}: not DICOM, or damaged at its beginning")
    if str(kind) in SEGMENTATIONS:
        raise RunError(f"{path}: DICOM with labels ({name}), not a picture: labels between two would mean a third")
    if "Rows" not in header or "Columns" not in header:
        raise RunError(f"{path}: DICOM without an image ({name})")
    if "TotalPixelMatrixColumns" in header and header.get("NumberOfFrames", 1) not in (1, None):
        raise RunError(f"{path}: a slide in tiles ({name}), whose tiles would get seams; export it as TIFF")
    missing = [word for word in ("BitsAllocated", "BitsStored", "PhotometricInterpretation") if word not in header]
    if missing:
        raise RunError(f"{path}: damaged: the header lacks {', '.join(missing)}")
    frames = header.get("NumberOfFrames") or 1
    if not isinstance(frames, int) or frames < 1:
        raise RunError(f"{path}: damaged: NumberOfFrames is {frames!r}")
    photometric, samples = header.PhotometricInterpretation, header.get("SamplesPerPixel", 1)
    if photometric not in (*GRAY, *COLOR, PALETTE) or samples != (3 if photometric in COLOR else 1):
        raise RunError(f"{path}: DICOM with {samples} samples of {photometric} is not supported")
    return Scan(path, header, _stored(path, header), int(frames))


def _stored(path: Path, header: Dataset) -> Stored:
    allocated, bits = header.BitsAllocated, header.BitsStored
    if allocated not in (8, 16) or not 1 < bits <= allocated:
        raise RunError(f"{path}: DICOM with {bits} bits of {allocated} a sample is not supported: 8 to 16 bits are")
    signed = header.get("PixelRepresentation", 0) == 1
    photometric = header.PhotometricInterpretation
    if header.get("HighBit", bits - 1) != bits - 1:
        raise RunError(f"{path}: DICOM whose {bits} bits end at bit {header.HighBit} of a word is not supported")
    found = Stored(bits, signed, allocated, photometric == "MONOCHROME1")
    if photometric == PALETTE:
        return _of_palette(header)
    low, high = found.declared
    return replace(found, padding=_padding(header, found) if photometric in GRAY else None, low=low, high=high)


def _of_palette(header: Dataset) -> Stored:
    """Colours of a palette: 8 bits, or 16 where its entries use them."""
    for color in ("Red", "Green", "Blue"):
        table = header.get(f"{color}PaletteColorLookupTableData")
        depth = header.get(f"{color}PaletteColorLookupTableDescriptor", (0, 0, 8))[2]
        if table is None:  # in segments: as deep as it says
            deep = depth == 16
        else:
            entries = np.frombuffer(table, np.uint16) if depth == 16 else np.zeros(0, np.uint16)
            # Many repeat a byte, or leave the lower one empty.
            deep = bool(((entries & 255 != 0) & (entries & 255 != entries >> 8)).any())
        if deep:
            return Stored(16, False, 16, high=65535)
    return Stored(8, False, 8, high=255)


def _padding(header: Dataset, stored: Stored) -> tuple[int, int] | None:
    first = header.get("PixelPaddingValue")
    if first is None:
        return None
    ends = sorted(_wrapped(value, stored) for value in (first, header.get("PixelPaddingRangeLimit", first)))
    return ends[0], ends[1]


def _wrapped(value: bytes | int, stored: Stored) -> int:
    """A number of the header in the range of the stored values: some write a negative one as its 16 bits."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    if stored.signed and number >= 1 << 15:
        number -= 1 << 16
    return number & ((1 << stored.bits) - 1) if not stored.signed and number < 0 else number
