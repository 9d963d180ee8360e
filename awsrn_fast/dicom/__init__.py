"""DICOM images in and out: every slice and frame larger, at the same place in the patient, as a new derived series.

No medical device: the result shows structures that a network makes up, and is not for diagnosis.
"""

from .upscaling import pixels, upscale

__all__ = ["pixels", "upscale"]
