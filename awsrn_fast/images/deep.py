"""Decoding of AVIF and HEIF with more than 8 bits, which Pillow reduces to 8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from awsrn_fast.errors import RunError


def decode(path: Path, image: Image.Image, bits: int) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    """[H, W, planes] uint16, profile, notes.

    Raises:
        RunError: the library that decodes it is not installed.
    """
    try:
        numbers = _avif(path, bits) if image.format == "AVIF" else _heif(path)
    except ImportError as error:
        raise RunError(
            f"{path}: {image.format} with {bits} bits per sample is read with the package {error.name}; install it, or "
            "save the image as 16-bit PNG"
        ) from error
    numbers = numbers if numbers.ndim == 3 else numbers[..., None]
    if numbers.shape[:2] != (image.height, image.width) or numbers.dtype != np.uint16:
        raise RunError(f"{path}: {image.format} with {bits} bits is of a kind that is not supported")
    return numbers, image.info.get("icc_profile"), (f"{bits} bits per sample become 16",)


def _avif(path: Path, bits: int) -> np.ndarray:
    import imagecodecs

    numbers = imagecodecs.avif_decode(path.read_bytes())
    top, most = np.iinfo(np.uint16).max, 2**bits - 1
    return ((numbers.astype(np.uint32) * top + most // 2) // most).astype(np.uint16)


def _heif(path: Path) -> np.ndarray:
    import pillow_heif

    return np.asarray(pillow_heif.open_heif(path, convert_hdr_to_8bit=False)[0])
