"""What fits: predictions for the sizes asked for, and the largest sizes within the memory."""

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
    """The sizes asked about, and what they must fit into.

    Attributes:
        network, target: what runs, and where.
        memory: bytes that the device can give.
        assumed: what the prediction does not know.
        batch, patch: of a training step, LR pixels.
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
    """One way of training or upscaling.

    Attributes:
        name: "training", "training, checkpointed" or "upscaling".
        prediction, need: at the sizes asked for.
        fits: whether that is within the memory.
        largest: by the name of the size, the largest that fits with the others as asked for; 0: none.
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
    """Training as it is, training with activation checkpointing, upscaling."""
    again = replace(question, network=replace(question.network, checkpoint_activations=True))
    return [_training("training", question), _training("training, checkpointed", again), _upscaling(question)]


def seen_side(network: Network, tile: int) -> int:
    """Side of the input that the network gets for a tile: its own part and the context on both sides."""
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
