"""Reading and writing image files without loss: gray, colour, alpha, 8 and 16 bits, ICC profile, EXIF.

Formats: PNG, JPEG, WebP, TIFF and BMP, and AVIF and HEIF where Pillow has them. ``reader`` and ``writer`` take an image
in parts, so that its size is not bounded by memory; ``read`` and ``write`` take it whole. What a format or library
cannot represent raises an error or is noted, never dropped silently: Pillow reduces 16-bit colour to 8 bits without a
warning, so such files are not read through it.
"""

from .extras import Extras, Resolution
from .info import scaled_info
from .metadata import not_kept
from .picture import BYTES, FORMATS, WORDS, Header, Picture, Samples
from .reading import MAX_PIXELS, format_inside, pixels, read, reader
from .windows import Reader
from .writing import Rows, check_writable, held, write, writer

__all__ = [
    "BYTES",
    "FORMATS",
    "MAX_PIXELS",
    "WORDS",
    "Extras",
    "Header",
    "Picture",
    "Reader",
    "Resolution",
    "Rows",
    "Samples",
    "check_writable",
    "format_inside",
    "held",
    "not_kept",
    "pixels",
    "read",
    "reader",
    "scaled_info",
    "write",
    "writer",
]
