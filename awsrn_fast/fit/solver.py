"""Solver: predictions for the requested sizes, and the largest sizes that fit in memory."""

from __future__ import annotations

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
    predict_inference,
    predict_training,
)

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

    def training(self, batch: int, patch: int) -> Prediction:
        return predict_training(self.network, self.target, batch, patch)

    def inference(self, tile: int) -> Prediction:
        side = seen_side(self.network, tile)
        return predict_inference(self.network, self.target, side, side)

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


def solve(question: Question) -> list[Row]:
    """Rows for training, training with activation checkpointing, and upscaling."""
    again = replace(question, network=replace(question.network, checkpoint_activations=True))
    return [_training("training", question), _training("training, checkpointed", again), _upscaling(question)]


def seen_side(network: Network, tile: int) -> int:
    """Side of a tile's input: its own part with the context on both sides."""
    facts = network.create().facts
    context, align = exact_context(facts), facts.block or 1
    return ceil(tile / align) * align + context + ceil(context / align) * align


def _training(name: str, question: Question) -> Row:
    batch, patch = question.batch, question.patch
    sizes = {
        "batch": largest(lambda n: question.total(question.training(n, patch)), question.memory),
        "patch": largest(
            lambda n: question.total(question.training(batch, n)), question.memory, PATCH_STEP, power=2, most=2048
        ),
    }
    return _row(name, question, question.training(batch, patch), sizes)


def _upscaling(question: Question) -> Row:
    tile = largest(lambda n: question.total(question.inference(n)), question.memory, TILE_STEP, power=2, most=16384)
    return _row("upscaling", question, question.inference(question.tile), {"tile": tile})


def _row(name: str, question: Question, prediction: Prediction, sizes: dict[str, int]) -> Row:
    wanted = need(prediction, question.assumed)
    return Row(name, prediction, wanted, wanted.total <= question.memory, sizes)
