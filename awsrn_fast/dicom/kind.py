"""Recognition of DICOM files, without a library."""

from __future__ import annotations

import struct
from pathlib import Path

_BARE = (".dcm", ".dicom", ".ima")
"""Suffixes of files that may lack the preamble and its signature."""
_DIRECTORY = b"1.2.840.10008.1.3.10"
"""Class of DICOMDIR: an index of files, which holds no image."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its signature, or by its suffix where it begins with a group of DICOM's.

    An index (DICOMDIR) does not count.
    """
    with open(path, "rb") as file:
        head = file.read(2048)
    if head[128:132] == b"DICM":
        return _DIRECTORY not in head[132:600]
    if path.suffix.lower() not in _BARE or len(head) < 8:
        return False
    return any(struct.unpack_from(order + "H", head)[0] in (2, 8) for order in "<>")
