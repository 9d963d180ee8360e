"""Scores of every method on every image of every set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from awsrn_fast.cli import console, is_out_of_memory, passing_bar, printable
from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing
from awsrn_fast.metrics import score

from .results import Results
from .sets import ImageSet
from .worst import Worst

Method = Callable[[np.ndarray], np.ndarray]
"""uint8 LR [H, W, 3] to uint8 [S * H, S * W, 3]."""


def measure(
    sets: Sequence[ImageSet],
    methods: dict[str, Method],
    scale: int,
    save_images: Path | None,
    worst: Worst | None = None,
) -> tuple[Results, list[str]]:
    """Compute the scores, and a line for each image that could not be used."""
    results = Results([image_set.name + ending for ending in methods for image_set in sets])
    failures = []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with passing_bar(*columns) as progress:
        task = progress.add_task("", total=sum(len(image_set.files) for image_set in sets))
        for image_set in sets:
            for image in image_set.files:
                progress.update(task, description=printable(f"{image_set.name} {image}"))
                try:
                    pictures = _measure_one(image_set, image, methods, scale, results, worst)
                except UserError as error:
                    failures.append(str(error))
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    failures.append(f"{image_set.files[image]}: out of memory")
                else:
                    _save(pictures, save_images)
                progress.advance(task)
    return results, failures


def _measure_one(
    image_set: ImageSet,
    image: str,
    methods: dict[str, Method],
    scale: int,
    results: Results,
    worst: Worst | None,
) -> dict[Path, np.ndarray]:
    """Add an image's scores; returns its results by their relative output paths."""
    lr, hr = image_set.pair(image, scale)
    pictures = {image_set.name + ending: method(lr) for ending, method in methods.items()}
    try:
        scores = {name: score(picture, hr, scale) for name, picture in pictures.items()}
    except UserError as error:
        raise UserError(f"{image_set.files[image]}: {error}") from error
    for name, measured in scores.items():
        results.add(name, image, measured)
    if worst is not None:
        by_ending = dict(zip(methods, pictures.values(), strict=True))
        worst.add(f"{image_set.name} {image}", lr, hr, by_ending, scores[next(iter(scores))].psnr)
    return {Path(name, f"{image}.png"): picture for name, picture in pictures.items()}


def _save(pictures: dict[Path, np.ndarray], folder: Path | None) -> None:
    # Not specific to an image: if one cannot be written, neither can the others, so the command ends.
    if folder is None:
        return
    for name, picture in pictures.items():
        with replacing(folder / name) as beside:
            Image.fromarray(picture).save(beside)


def complain_about(failures: Sequence[str], sets: Sequence[ImageSet]) -> None:
    """Print a line for each image that could not be used."""
    if failures:
        console.print(f"{len(failures)} of {sum(len(s.files) for s in sets)} images could not be used:")
        for line in failures:
            console.print(f"  {line}")
