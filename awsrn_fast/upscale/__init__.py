"""Upscaling image files: ``python -m awsrn_fast.upscale``, and its parts as wrappers that compose."""

from __future__ import annotations

from .enhance import enhance
from .tiling import Tiler

__all__ = ["Tiler", "enhance"]
