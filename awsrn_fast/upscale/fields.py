"""Kinds of files beside images, each with a package of its own, chosen by a file's contents."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

Result = tuple[tuple[int, int], tuple[int, int], tuple[str, ...]]
"""(height, width) of the input and of the output, remarks for the user."""


@dataclass(frozen=True)
class Field:
    """A kind of files.

    Attributes:
        title: what users call a file of it.
        package: the module with ``pixels(path, max_pixels)`` and ``upscale(source, target, enlarger, args, peers)``;
            it imports the field's libraries only there.
        suffixes: of its outputs, the first of them for inputs with another one.
        claims: whether a file is of this kind.
        renames: whether an output without one of the suffixes gets the first.
        images: whether its files can be read as images, too, for outputs of images' formats.
    """

    title: str
    package: str = ""
    suffixes: tuple[str, ...] = ()
    claims: Callable[[Path], bool] = lambda path: False
    renames: bool = True
    images: bool = False

    @property
    def module(self) -> ModuleType:
        return import_module(self.package)

    def name(self, name: str, ending: str) -> str:
        """The output's name for an input's ``name``."""
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in self.suffixes:
            return stem + ending + suffix
        return stem + ending + self.suffixes[0] if self.renames else name + ending


def _is_dicom(path: Path) -> bool:
    from awsrn_fast.dicom.kind import is_dicom

    return is_dicom(path)


def _is_raster(path: Path) -> bool:
    from awsrn_fast.raster.kind import is_raster

    return is_raster(path)


def _is_video(path: Path) -> bool:
    from awsrn_fast.video.kind import is_video

    return is_video(path)


IMAGE = Field("an image")
DICOM = Field("DICOM", "awsrn_fast.dicom", (".dcm", ".dicom", ".ima"), _is_dicom, renames=False)
RASTER = Field("a raster", "awsrn_fast.raster", (".tif", ".tiff"), _is_raster, images=True)
VIDEO = Field("a film", "awsrn_fast.video", (".mkv", ".mp4", ".mov", ".m4v", ".webm"), _is_video)
_OTHERS = (DICOM, RASTER, VIDEO)


def field_of(path: Path, suffix: str | None = None) -> Field:
    """The field that takes a file; images' for whatever no other takes, unreadable ones included.

    Args:
        path: the file.
        suffix: of the output, where the user chose it: a raster becomes an image where that is an image's.
    """
    if not os.path.isfile(path):
        return IMAGE
    try:
        found = next((field for field in _OTHERS if field.claims(path)), IMAGE)
    except OSError:  # reported when it is processed
        return IMAGE
    return IMAGE if found.images and suffix is not None and suffix.lower() not in found.suffixes else found


def suffixes() -> tuple[str, ...]:
    """Suffixes of all fields' outputs, images' left out."""
    return tuple(suffix for field in _OTHERS if not field.images for suffix in field.suffixes)
