"""Upscaling of one image file to another, in bounded memory where the formats allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from awsrn_fast import images
from awsrn_fast.errors import RunError

from .enlarger import Enlarger
from .fields import Result
from .plan import Job

ARTEFACTS_BELOW = 80
"""JPEG quality below which compression artefacts are visible in the result."""
FOR_ARTEFACTS = ""
"""Name of the bundled weights that remove them; empty: there are none."""


class _Pixels:
    """Adapter from an image reader to the pixels to upscale."""

    def __init__(self, reader: images.Reader) -> None:
        header = reader.header
        self.height, self.width, self.planes = header.height, header.width, header.planes
        self.window: Callable[..., np.ndarray] = reader.window


def upscale_image(job: Job, enlarger: Enlarger) -> Result:
    """Read, upscale and write one image.

    Args:
        job: input and output file.
        enlarger: the network with its options.

    Returns:
        (height, width) of the input and of the output, remarks for the user.

    Raises:
        RunError: input that :mod:`awsrn_fast.images` refuses, or too little memory. Nothing is written then.
    """
    settings = enlarger.settings
    with images.reader(job.source, settings.max_pixels, settings.room) as reader:
        header = reader.header
        try:
            larger = header.sized(*enlarger.size(*header.size))
            images.check_writable(job.target, larger)
            steps = int(header.samples.high) if header.samples.natural else None
            rows = enlarger.rows(_Pixels(reader), reader.resident + images.held(job.target, larger), steps)
            with images.writer(job.target, larger, settings.quality) as out:
                for part in rows:
                    out.write(part)
        except RunError as error:
            named = any(str(path) in str(error) for path in (job.target, job.source))
            raise RunError(str(error) if named else f"{job.source}: {error}") from error
    return header.size, larger.size, _remarks(job, header) + enlarger.remarks


def _remarks(job: Job, header: images.Header) -> tuple[str, ...]:
    format = images.FORMATS[job.target.suffix.lower()]
    remarks = list(header.notes)
    if images.FORMATS.get(job.source.suffix.lower(), header.format) != header.format:
        remarks.append(f"{header.format} inside, written as {format}")
    if header.quality is not None and header.quality < ARTEFACTS_BELOW:
        weights = f": {FOR_ARTEFACTS} is trained for that" if FOR_ARTEFACTS else ""
        remarks.append(f"JPEG of quality {header.quality}, whose artefacts are enlarged too{weights}")
    return (*remarks, *images.not_kept(header, format))
