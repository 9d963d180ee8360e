"""Identifier of the C++ and CUDA sources' state, to detect a library built from another state.

Used at build time (setup.py loads this file by its path, so it imports nothing of the package) and by ``native``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def source_id(csrc: Path) -> str:
    """A short digest of every file under ``csrc``, names and contents; line ends don't count."""
    digest = hashlib.sha256()
    for path in sorted(csrc.rglob("*")):
        if path.suffix in {".h", ".cpp", ".cu", ".cuh"}:
            digest.update(path.relative_to(csrc).as_posix().encode() + b"\0")
            digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]
