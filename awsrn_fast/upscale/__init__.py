"""Upscaling image files: ``python -m awsrn_fast.upscale``."""
