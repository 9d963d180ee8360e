"""Films in and out: every frame larger, timestamps, sound and subtitles as they were."""

from .upscaling import pixels, upscale

__all__ = ["pixels", "upscale"]
