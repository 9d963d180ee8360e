"""A record as read from its file, and whether what it names is still the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awsrn_fast import environment
from awsrn_fast.errors import UserError
from awsrn_fast.upscale import digests
from awsrn_fast.upscale.record import FORMAT

COMPARED = ("awsrn_fast", "torch", "numpy", "pillow", "imagecodecs")
"""Versions that bits may depend on."""


@dataclass(frozen=True)
class Recorded:
    """One record.

    Attributes:
        path: its file.
        content: what it says.
    """

    path: Path
    content: dict[str, Any]

    @property
    def images(self) -> list[dict[str, Any]]:
        """The images that have a result."""
        return [image for image in self.content["images"] if "output" in image]

    def weights(self, given: Path | None) -> Path:
        """The weights file, by its place in the record, its bundled name or as ``given``.

        Raises:
            UserError: it is not there, or holds other weights.
        """
        from awsrn_fast.checkpoint import bundled_names, weights_file

        about = self.content["weights"]
        name = about["name"] if about["name"] in bundled_names() else about["file"]
        file = weights_file(given or name)
        if digests.of_file(file) != about["sha256"]:
            raise UserError(
                f"{file}: not the weights of this record (SHA-256 {about['sha256'][:12]}...): give --weights"
            )
        return file

    def inputs(self, given: Sequence[Path]) -> list[Path]:
        """The input of each image of :attr:`images`, found in ``given`` by its SHA-256, else at its recorded place.

        Raises:
            UserError: one is not there, or has changed; one of ``given`` is no input of this record.
        """
        by_hash = {digests.of_file(file): file for file in given}
        wanted = [image["input"]["sha256"] for image in self.images]
        for found, file in by_hash.items():
            if found not in wanted:
                raise UserError(f"{file}: not an input of this record, which knows none with its SHA-256")
        return [
            by_hash.get(digest) or self._at_its_place(image) for digest, image in zip(wanted, self.images, strict=True)
        ]

    def _at_its_place(self, image: dict[str, Any]) -> Path:
        file = Path(image["input"]["file"])
        if not file.is_file():
            raise UserError(f"{file}: the recorded input is not there: name it by --inputs")
        if digests.of_file(file) != image["input"]["sha256"]:
            raise UserError(
                f"{file}: not the input of this record, its SHA-256 is another: name the right one by --inputs"
            )
        return file

    def differences(self) -> list[str]:
        """What of versions and machine is another now, each as a few words."""
        now = environment.report()
        then = {name: self.content["versions"].get(name) for name in COMPARED}
        pairs = [(name, then[name], now["versions"].get(name)) for name in COMPARED]
        for fact in ("model", "isa"):
            pairs.append((f"CPU {fact}", self.content["machine"]["cpu"].get(fact), now["cpu"].get(fact)))
        return [f"{name} {after} (recorded: {before})" for name, before, after in pairs if before != after]


def read_record(path: Path) -> Recorded:
    """The record in a file.

    Raises:
        UserError: there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path}: no record of an upscaling, not even JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: no record of an upscaling by this version ({FORMAT!r} is missing)")
    missing = [key for key in ("images", "weights", "options", "versions", "machine") if key not in content]
    if missing:
        raise UserError(f"{path}: the record is not whole, it has no {missing[0]}")
    recorded = Recorded(path, content)
    if not recorded.images:
        raise UserError(f"{path}: the record has no image with a result")
    return recorded
