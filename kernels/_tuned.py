"""Files of measured tiles, ``tuned/<gpu>.json``: those of the package, then the user's own, which take precedence.

A file that ``python -m awsrn_fast.tune`` did not write with this Triton is ignored with a one-line warning: everything
runs with the kernels' default tiles.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import triton

PACKAGED = Path(__file__).with_name("tuned")


def users_folder() -> Path:
    """``AWSRN_FAST_TUNED``, or else ``tuned`` in the package's cache folder."""
    if chosen := os.environ.get("AWSRN_FAST_TUNED"):
        return Path(chosen)
    if cache := os.environ.get("AWSRN_FAST_CACHE"):
        return Path(cache) / "tuned"
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "awsrn_fast" / "tuned"
    except RuntimeError:  # a user without a home has no tuned tiles
        return Path(tempfile.gettempdir()) / f"awsrn_fast-{os.getuid()}" / "tuned"


def file_name(gpu: str) -> str:
    """``nvidia-geforce-rtx-3090.json``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") + ".json"


def release() -> str:
    """Triton's release without patch level; the code generated for a tile differs between releases."""
    return ".".join(triton.__version__.split(".")[:2])


def read_all(spaces: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, dict[str, dict[str, int]]]:
    """Tiles by GPU and problem; warns of each file that is ignored."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for folder in (PACKAGED, users_folder()):
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            try:
                content = read(path, spaces)
            except ValueError as error:
                warnings.warn(f"{error}; measure anew: python -m awsrn_fast.tune", stacklevel=2)
                continue
            tiles = {problem: entry["tiles"] for problem, entry in content["problems"].items()}
            found.setdefault(content["gpu"], {}).update(tiles)
    return found


def read(path: Path, spaces: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, Any]:
    """A file's content, checked.

    Raises:
        ValueError: it is not what tuning writes, or was measured with another release of Triton; one line.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["triton"] != release():
            raise ValueError(f"measured with Triton {content['triton']}, this is {release()}")
        if not isinstance(content["gpu"], str):
            raise ValueError("gpu is not a name")
        for problem, entry in content["problems"].items():
            space = spaces.get(problem.partition(" ")[0])
            if space is None:
                raise ValueError(f"{problem!r} is of no kernel")
            for name, value in entry["tiles"].items():
                if type(value) is not int or value not in space.get(name, ()):
                    raise ValueError(f"{problem!r} cannot have {name} = {value!r}")
    except OSError as error:
        raise ValueError(f"tiles in {path} are left out: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"tiles in {path} are left out: {said}") from error
    return content
