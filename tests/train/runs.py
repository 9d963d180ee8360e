"""What tests of training runs share: small photographs, a small run, and a comparison of two runs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast.data import sample_folder
from awsrn_fast.train.state import read_state

SMALL_RUN = (
    *("--variant", "awsrn-sd", "--scale", "2", "--curriculum", "false", "--patch", "8", "--batch", "2"),
    *("--iterations", "8", "--checkpoint-every", "4", "--log-every", "2", "--device", "cpu", "--dtype", "float32"),
)


def make_photos(folder: Path) -> Path:
    """Four small cuts of an embedded photograph."""
    whole = np.asarray(Image.open(sample_folder() / "train" / "raccoon.jpg"))
    for i in range(4):
        Image.fromarray(whole[200 + 70 * i :][:64, 300:380]).save(folder / f"{i}.png")
    return folder


def rows(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv."""
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_run(whole: Path, resumed: Path) -> None:
    """Weights, average, optimiser, counters and every column but time, bit for bit."""
    for name in ("last.safetensors", "best.safetensors"):
        before, after = (awsrn_fast.load(run / name).state_dict() for run in (whole, resumed))
        assert all(torch.equal(before[key], after[key]) for key in before)
    before, after = (read_state(run / "state.pt") for run in (whole, resumed))
    for part in ("model", "average"):
        assert all(torch.equal(before[part][key], after[part][key]) for key in before[part])
    for slot, moments in before["optimizer"]["state"].items():
        assert all(torch.equal(moments[key], after["optimizer"]["state"][slot][key]) for key in moments)
    assert all(before[key] == after[key] for key in ("iteration", "best", "psnr", "skipped", "losses"))
    assert torch.equal(before["random"]["cpu"], after["random"]["cpu"])
    timeless = ("iteration", "loss", "lr", "val_psnr")
    assert [[r[c] for c in timeless] for r in rows(whole)] == [[r[c] for c in timeless] for r in rows(resumed)]
