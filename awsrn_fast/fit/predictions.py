"""Memory predictions, each computed once: they are kept in the package's cache folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch

from awsrn_fast import native
from awsrn_fast.data.cache import cache_folder
from awsrn_fast.errors import RunError
from awsrn_fast.files import write_text
from awsrn_fast.memory import Network, Prediction, Target, predict_inference, predict_training

FORMAT = 1
PACKAGE = Path(__file__).resolve().parents[1]
DECISIVE = ("inference", "memory", "models", "nn", "ops")
"""Packages whose code a prediction depends on."""


class Predictions:
    """The predictions for one network and target, kept in one file.

    The file is named by everything that a prediction depends on, so it is never stale.

    Args:
        network, target: what the predictions are for.
        progress: called before one is computed, with its kind ("training", "upscaling") and sizes.
        folder: the cache folder; None for :func:`cache_folder`.
    """

    def __init__(
        self,
        network: Network,
        target: Target,
        progress: Callable[[str, tuple[int, ...]], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.network, self.target = network, target
        self.progress = progress
        self.file = (folder or cache_folder() / f"predictions-{FORMAT}") / f"{_key(network, target)}.json"
        self._known = self._read()
        self._new = False

    def training(self, batch: int, patch: int) -> Prediction:
        """See :func:`predict_training`."""
        return self._get("training", (batch, patch), predict_training)

    def inference(self, height: int, width: int) -> Prediction:
        """See :func:`predict_inference`."""
        return self._get("upscaling", (height, width), predict_inference)

    def save(self) -> str:
        """Write what is new. Returns a remark for the user where that failed: it only costs time."""
        if self._new:
            try:
                write_text(self.file, json.dumps({name: asdict(known) for name, known in self._known.items()}))
            except RunError as error:
                return f"predictions are not kept for the next time: {error}"
        return ""

    def _get(self, kind: str, sizes: tuple[int, int], predict: Callable[..., Prediction]) -> Prediction:
        name = f"{kind} {sizes[0]}x{sizes[1]}"
        if name not in self._known:
            if self.progress:
                self.progress(kind, sizes)
            self._known[name] = predict(self.network, self.target, *sizes)
            self._new = True
        return self._known[name]

    def _read(self) -> dict[str, Prediction]:
        try:
            read = json.loads(self.file.read_text(encoding="utf-8"))
            return {name: Prediction(**{key: int(size) for key, size in parts.items()}) for name, parts in read.items()}
        except (OSError, ValueError, TypeError, AttributeError):  # missing or damaged
            return {}


def _key(network: Network, target: Target) -> str:
    # Which kernels an op has decides what it keeps.
    libraries = [module and module.build_id for module in (native.cpu, native.cuda)]
    decisive = [asdict(network), target.device, target.capability, str(target.dtype), torch.__version__, libraries]
    return sha256(json.dumps([*decisive, _code()], sort_keys=True).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """SHA-256 of the code that a prediction depends on."""
    files = sorted(file for package in DECISIVE for file in (PACKAGE / package).rglob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
