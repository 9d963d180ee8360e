"""Image files in and out with nothing lost on the way: gray, colour, alpha, 8 and 16 bits, ICC profile, EXIF.

Formats: PNG, JPEG, WebP, TIFF and BMP. What a format or a library here cannot hold is an error, never a silent cut:
Pillow reads 16-bit colour as 8 bits without a word, so 16-bit PNG goes through pypng and 16-bit colour TIFF is refused.
"""

from .picture import FORMATS, Picture
from .reading import MAX_PIXELS, pixels, read
from .writing import check_writable, write

__all__ = ["FORMATS", "MAX_PIXELS", "Picture", "check_writable", "pixels", "read", "write"]
