"""Image files in and out with nothing lost on the way: gray, colour, alpha, 8 and 16 bits, ICC profile, EXIF.

Formats: PNG, JPEG, WebP, TIFF and BMP, and AVIF and HEIF where Pillow has them. ``reader`` and ``writer`` take an image
in parts, so that its size is not bounded by memory; ``read`` and ``write`` take it whole. What a format or a library
here cannot hold is an error or a note, never a silent cut: Pillow reads 16-bit colour as 8 bits without a word, so
these kinds do not go through it.
"""

from .extras import Extras, Resolution
from .info import scaled_info
from .metadata import not_kept
from .picture import BYTES, FORMATS, WORDS, Header, Picture, Samples
from .reading import MAX_PIXELS, format_inside, pixels, read, reader
from .windows import Reader
from .writing import Rows, check_writable, held, write, writer

__all__ = ["BYTES", "FORMATS", "MAX_PIXELS", "WORDS", "Extras", "Header", "Picture", "Reader", "Resolution", "Rows",
           "Samples", "check_writable", "format_inside", "held", "not_kept", "pixels", "read", "reader", "scaled_info",
           "write", "writer"]  # fmt: skip
