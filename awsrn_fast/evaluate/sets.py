"""Benchmark sets: folders of HR images with their LR counterparts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from awsrn_fast.data import crop_to_multiple, downscale, find_images, find_lr, read_rgb
from awsrn_fast.errors import RunError, UserError


@dataclass(frozen=True)
class ImageSet:
    name: str
    files: dict[str, Path]
    """HR files by image name."""
    lr: Path | None = None
    """Folder of LR files; None to make LR from HR."""

    def pair(self, image: str, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """LR [h, w, 3] and HR [scale * h, scale * w, 3] of one image, uint8.

        Raises:
            RunError: one of the files cannot be used; one line that names it.
        """
        path = self.files[image]
        hr = crop_to_multiple(read_rgb(path), scale)
        if not hr.size:
            raise RunError(f"{path}: less than one pixel at scale {scale}")
        if self.lr is None:
            return downscale(hr, scale), hr
        lr_path = find_lr(self.lr, path, scale)
        lr = read_rgb(lr_path)
        expected = (hr.shape[0] // scale, hr.shape[1] // scale)
        if lr.shape[:2] != expected:
            raise RunError(
                f"{lr_path}: {lr.shape[1]}x{lr.shape[0]} pixels, expected {expected[1]}x{expected[0]} for {path.name}"
            )
        return lr, hr


def open_sets(folders: Sequence[str], lr: str | None) -> list[ImageSet]:
    """The sets in ``folders``, named as these are.

    Args:
        folders: a set's folder (with an HR subfolder) or its HR folder.
        lr: subfolder of each set with LR files, or None.

    Raises:
        UserError: a folder is missing or has no image, or two sets have one name.
    """
    sets = [_open(Path(folder), lr) for folder in folders]
    for name, count in Counter(image_set.name for image_set in sets).items():
        if count > 1:
            raise UserError(f"--data has {count} sets named {name}: a set has the name of its folder, so rename one")
    return sets


def _open(folder: Path, lr: str | None) -> ImageSet:
    files = find_images([folder])
    root = folder.resolve()
    if root.name == "HR":
        root = root.parent
    lr_folder = root / lr if lr else None
    if lr_folder and not lr_folder.is_dir():
        raise UserError(f"no folder {lr_folder}: --lr names a subfolder of each set, such as LR_bicubic")
    return ImageSet(root.name, _named(files, folder), lr_folder)


def _named(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Files by their stem, or by their path in ``folder`` if stems are not unique."""
    stems = Counter(file.stem for file in files)
    return {file.stem if stems[file.stem] == 1 else file.relative_to(folder).as_posix(): file for file in files}
