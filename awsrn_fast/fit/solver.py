"""Solver: predictions for the requested sizes, and the largest sizes that fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from awsrn_fast.inference import exact_context
from awsrn_fast.memory import (
    Assumptions,
    Need,
    Network,
    Prediction,
    Target,
    largest,
    need,
)

from .predictions import Predictions

PATCH_STEP, TILE_STEP = 8, 32
"""Grids of the sizes: patches by the body's alignment, tiles by the default block of the non-local fusion."""


@dataclass(frozen=True)
class Question:
    """The requested sizes and the available memory.

    Attributes:
        network, target: the network, and its device and dtype.
        memory: usable bytes of the device.
        assumed: overheads that the prediction cannot determine.
        batch, patch: batch size and patch side (LR pixels) of a training step.
        tile: side of the tiles of large images, LR pixels.
    """

    network: Network
    target: Target
    memory: int
    assumed: Assumptions
    batch: int
    patch: int
    tile: int

    def total(self, prediction: Prediction) -> int:
        return need(prediction, self.assumed).total


@dataclass(frozen=True)
class Row:
    """Result for one mode of training or upscaling.

    Attributes:
        name: "training", "training, checkpointed" or "upscaling".
        prediction, need: at the requested sizes.
        fits: whether that is within the memory.
        largest: by the name of the size, the largest that fits with the others as requested; 0: none.
    """

    name: str
    prediction: Prediction
    need: Need
    fits: bool
    largest: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        parts = asdict(self.prediction) | {"peak": self.prediction.peak}
        return {"parts": parts, "need": asdict(self.need) | {"total": self.need.total}} | {
            "fits": self.fits,
            "largest": self.largest,
        }


Progress = Callable[[str], None]
"""Takes a line on what is being computed."""


def solve(question: Question, progress: Progress = lambda line: None) -> tuple[list[Row], list[str]]:
    """Rows for training, training with activation checkpointing, and upscaling; and remarks for the user."""
    rows: list[Row] = []
    remarks: list[str] = []
    for name, checkpointed in (("training", False), ("training, checkpointed", True), ("upscaling", False)):
        network = replace(question.network, checkpoint_activations=checkpointed)

        def tell(kind: str, sizes: tuple[int, ...], name: str = name) -> None:
            what = "{} patches of {}" if kind == "training" else "a map of {}x{}"
            progress(f"{name}: {what.format(*sizes)} ({len(rows) + 1} of 3)")

        predictions = Predictions(network, question.target, tell)
        rows.append((_upscaling if name == "upscaling" else _training)(name, question, predictions))
        remarks.append(predictions.save())
    return rows, [*dict.fromkeys(filter(None, remarks))]


def seen_side(network: Network, tile: int) -> int:
    """Side of a tile's input: its own part with the context on both sides."""
    facts = network.create().facts
    context, align = exact_context(facts), facts.block or 1
    return ceil(tile / align) * align + context + ceil(context / align) * align


def _training(name: str, question: Question, predictions: Predictions) -> Row:
    batch, patch = question.batch, question.patch

    def total(batch: int, patch: int) -> int:
        return question.total(predictions.training(batch, patch))

    wanted = predictions.training(batch, patch)
    sizes = {
        "batch": largest(lambda n: total(n, patch), question.memory, start=batch, by_curve=True),
        "patch": largest(
            lambda n: total(batch, n), question.memory, PATCH_STEP, power=2, most=2048, start=patch, by_curve=True
        ),
    }
    return _row(name, question, wanted, sizes)


def _upscaling(name: str, question: Question, predictions: Predictions) -> Row:
    def prediction(tile: int) -> Prediction:
        side = seen_side(question.network, tile)
        return predictions.inference(side, side)

    tile = largest(
        lambda n: question.total(prediction(n)),
        question.memory,
        TILE_STEP,
        power=2,
        most=16384,
        start=question.tile,
        by_curve=True,
    )
    return _row(name, question, prediction(question.tile), {"tile": tile})


def _row(name: str, question: Question, prediction: Prediction, sizes: dict[str, int]) -> Row:
    wanted = need(prediction, question.assumed)
    return Row(name, prediction, wanted, wanted.total <= question.memory, sizes)
