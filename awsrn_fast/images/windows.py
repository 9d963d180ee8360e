"""The interface of image readers: the header, and windows of the upright image."""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from awsrn_fast.errors import RunError

from .picture import Header, Picture

# Decoders raise any of these on damaged data.
DECODING = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, IndexError, KeyError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)


class Reader(ABC):
    """Reader of one upright image in a file. A context manager that closes it; not thread-safe.

    Read from top to bottom: PNG is decoded in this order, and decoding restarts for a window that begins above the
    previous one.
    """

    header: Header
    resident: int = 0
    """Most bytes that the reader holds besides the windows it returns: the image, if it is decoded whole."""

    @abstractmethod
    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Pixels [top, bottom) x [left, right) as float32 [h, w, planes] in [0, 1], alpha last; a fresh array.

        Raises:
            RunError: the file is damaged there.
        """

    def close(self) -> None:  # noqa: B027 - most readers hold nothing open
        """Close the file."""

    def picture(self) -> Picture:
        """The whole image."""
        values = self.window(0, self.header.height, 0, self.header.width)
        color, alpha = (values[..., :-1], values[..., -1]) if self.header.alpha else (values, None)
        return Picture(color, alpha, **self.header.about())

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Decoded(Reader):
    """Reader of an image that is decoded whole.

    Args:
        header: the upright image's.
        numbers: [H, W, planes] as in the file, of the header's dtype.
    """

    def __init__(self, header: Header, numbers: np.ndarray):
        self.header, self.numbers, self.resident = header, numbers, numbers.nbytes

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return self.header.samples.to_unit(self.numbers[top:bottom, left:right])


def check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Raise RunError for an image with no or too many pixels."""
    if height < 1 or width < 1:
        raise RunError(f"{path}: the image has no pixels ({width}x{height})")
    if height * width > max_pixels:
        raise RunError(
            f"{path}: {width}x{height} is more than {max_pixels} pixels (--max-pixels); "
            "not decoded, since such a header may be an attack"
        )


def check_memory(path: Path, size: int, memory_limit: int | None, instead: str) -> None:
    """Raise RunError if decoding takes more bytes than allowed; ``instead`` names a kind that would not."""
    if memory_limit is not None and size > memory_limit:
        raise RunError(
            f"{path}: decoding this kind of file takes {size / 1e9:.2f} GB, more than the memory limit of "
            f"{memory_limit / 1e9:.2f} GB; {instead}"
        )


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """Context that turns decoders' exceptions into one RunError line that names the file."""
    try:
        yield
    except RunError:
        raise
    except ImportError as error:
        raise RunError(f"{path}: this kind of file is read with the package {error.name}: install it") from error
    except MemoryError as error:
        raise RunError(f"{path}: damaged, or decoding it takes more memory than there is") from error
    except DECODING as error:
        reason = getattr(error, "strerror", None) or f"damaged or not supported ({_first_line(error)})"
        raise RunError(f"{path}: {reason}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
