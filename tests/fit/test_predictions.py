"""Predictions are computed once and kept; ``fit`` asks for few of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from awsrn_fast.fit import predictions, solver
from awsrn_fast.fit.predictions import Predictions
from awsrn_fast.memory import ASSUMED, Network, Prediction, Target
from awsrn_fast.memory.budget import GIB

NETWORK, TARGET = Network("awsrn-sd", 2), Target("cuda", (7, 5), torch.float16)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[int, int]]:
    """The sizes that were computed, by stand-ins that take no time."""
    monkeypatch.setenv("AWSRN_FAST_CACHE", str(tmp_path))
    sizes: list[tuple[int, int]] = []

    def predict(network: Network, target: Target, first: int, second: int) -> Prediction:
        sizes.append((first, second))
        return Prediction(1000, 1000, 2000, 12 * first * second, 40_000 * first * second**2, 64 * first)

    monkeypatch.setattr(predictions, "predict_training", predict)
    monkeypatch.setattr(predictions, "predict_inference", predict)
    return sizes


def test_a_prediction_is_computed_once_and_kept(computed: list, tmp_path: Path) -> None:
    told = []
    first = Predictions(NETWORK, TARGET, lambda kind, sizes: told.append((kind, sizes)))
    wanted = first.training(16, 48)
    assert first.training(16, 48) == wanted and computed == [(16, 48)] and told == [("training", (16, 48))]
    assert first.save() == ""
    assert first.file.is_relative_to(tmp_path)
    again = Predictions(NETWORK, TARGET)
    assert again.training(16, 48) == wanted and computed == [(16, 48)]
    again.inference(16, 48)
    assert computed == [(16, 48)] * 2  # training and upscaling are two things


@pytest.mark.parametrize(
    "network, target",
    [
        (replace(NETWORK, checkpoint_activations=True), TARGET),
        (replace(NETWORK, scale=4), TARGET),
        (NETWORK, Target("cuda", (8, 0), torch.float16)),
        (NETWORK, Target("cuda", (7, 5), torch.float32)),
    ],
)
def test_what_a_prediction_depends_on_keeps_it_apart(network: Network, target: Target) -> None:
    assert Predictions(network, target).file != Predictions(NETWORK, TARGET).file


def test_other_code_or_another_torch_means_other_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Predictions(NETWORK, TARGET).file
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "99.0")
        assert Predictions(NETWORK, TARGET).file != known
    monkeypatch.setattr(predictions, "_code", lambda: "changed")
    assert Predictions(NETWORK, TARGET).file != known


@pytest.mark.parametrize("text", ["", "[]", '{"training 16x48": {"weights": 1}}', '{"training 16x48": 3}', "{"])
def test_a_damaged_file_is_computed_again(computed: list, text: str) -> None:
    damaged = Predictions(NETWORK, TARGET)
    damaged.file.parent.mkdir(parents=True)
    damaged.file.write_text(text)
    again = Predictions(NETWORK, TARGET)
    again.training(16, 48)
    assert again.save() == "" and len(json.loads(again.file.read_text())["training 16x48"]) == 6
    assert computed == [(16, 48)]


def test_a_cache_that_cannot_be_written_is_said(computed: list, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lost = Predictions(NETWORK, TARGET, folder=tmp_path / "file/below")
    lost.training(16, 48)
    assert lost.save().startswith(f"predictions are not kept for the next time: cannot write {tmp_path}/file/below/")


def test_few_predictions_are_computed_and_each_is_told(computed: list) -> None:
    question = solver.Question(NETWORK, TARGET, 11 * GIB, ASSUMED["cuda"], batch=16, patch=48, tile=512)
    lines: list[str] = []
    rows, remarks = solver.solve(question, lines.append)
    assert remarks == [] and len(lines) == len(computed) <= 18
    assert lines[0] == "training: 16 patches of 48 (1 of 3)" and lines[-1].startswith("upscaling: a map of ")
    again, _ = solver.solve(replace(question, memory=11 * GIB + 1), lines.append)
    assert again == rows and len(lines) == len(computed)
