"""Satellite rasters in and out: any number of bands, at the same place on the map, as Cloud Optimized GeoTIFF."""

from .upscaling import pixels, upscale

__all__ = ["pixels", "upscale"]
