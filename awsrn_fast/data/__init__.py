"""Training and validation images: discovery, caching, downscaling as in the benchmarks, and patch sampling.

Images in memory are uint8 [H, W, 3] RGB everywhere in this package.
"""

from __future__ import annotations

from pathlib import Path

from .cache import Photo, Photos, cache_folder, open_photos
from .degrade import Degradation, make_lr
from .folder import find_images, find_lr, read_rgb
from .resize import crop_to_multiple, downscale, upscale
from .sampler import Patch, PatchSampler

__all__ = [
    "Degradation",
    "Patch",
    "PatchSampler",
    "Photo",
    "Photos",
    "cache_folder",
    "crop_to_multiple",
    "downscale",
    "find_images",
    "find_lr",
    "make_lr",
    "open_photos",
    "read_rgb",
    "sample_folder",
    "upscale",
]


def sample_folder() -> Path:
    """The embedded photographs (see LICENSES.md beside them): ``train`` and ``valid``, the default data."""
    return Path(__file__).parent / "sample"
