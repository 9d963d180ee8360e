"""``python -m awsrn_fast.fit``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from awsrn_fast.errors import UserError
from awsrn_fast.fit.command import main
from awsrn_fast.fit.solver import seen_side
from awsrn_fast.inference import Tiler
from awsrn_fast.memory import ASSUMED, Network, Target, need, predict_inference, predict_training
from awsrn_fast.models import create


def as_json(capsys: pytest.CaptureFixture, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_largest_sizes_fit_and_the_next_do_not(capsys: pytest.CaptureFixture) -> None:
    facts = as_json(capsys, "--gpu", "rtx 2080 ti", "--variant", "awsrn-sd", "--scale", "4")
    assert (facts["device"], facts["dtype"]) == ("RTX 2080 Ti", "float16")
    network, target, assumed = Network("awsrn-sd", 4), Target("cuda", (7, 5), torch.float16), ASSUMED["cuda"]

    def training_fits(batch: int, patch: int) -> bool:
        return need(predict_training(network, target, batch, patch), assumed).total <= facts["memory"]

    def tile_fits(tile: int) -> bool:
        side = seen_side(network, tile)
        return need(predict_inference(network, target, side, side), assumed).total <= facts["memory"]

    batch, patch = facts["training"]["largest"]["batch"], facts["training"]["largest"]["patch"]
    assert training_fits(batch, 48) and not training_fits(batch + 1, 48)
    assert training_fits(16, patch) and not training_fits(16, patch + 8)
    assert facts["command"].endswith(
        "--variant awsrn-sd --scale 4 --dtype float16 --curriculum false --patch 48 --batch 16"
    )
    tile = facts["upscaling"]["largest"]["tile"]
    assert tile_fits(tile) and not tile_fits(tile + 32)
    for row in ("training", "training_checkpointed", "upscaling"):
        parts = facts[row]["need"]
        assert parts["total"] == parts["allocated"] + parts["margin"] + parts["workspace"] + parts["context"]
        assert facts[row]["fits"] is (parts["total"] <= facts["memory"])


def test_what_does_not_fit_is_said_with_a_way_out(capsys: pytest.CaptureFixture) -> None:
    # Small enough for builds with CUDA kernels, too, which keep less than PyTorch does.
    tight = ["--memory", "0.45GB", "--context", "100MB", "--variant", "awsrn-m", "--patch", "128"]
    facts = as_json(capsys, *tight)
    plain, again = facts["training"], facts["training_checkpointed"]
    assert not plain["fits"] and not again["fits"]
    assert 1 <= plain["largest"]["batch"] < again["largest"]["batch"] < 16
    assert facts["command"].endswith(f"--patch 128 --batch {again['largest']['batch']} --checkpoint-activations true")


def test_the_table_names_every_part_and_assumption(capsys: pytest.CaptureFixture) -> None:
    assert main(["--memory", "50MB", "--variant", "awsrn-sd", "--fragmentation", "0.25"]) == 0
    said = capsys.readouterr().out
    for words in ("awsrn-sd x4, float16, on GPU with 50 MB", "largest batch", "largest patch", "largest tile", "none"):
        assert words in said
    assert "assumed, not measured:" in said and "fragmentation 25% of the tensors" in said
    assert said.rstrip().endswith("nothing fits: take a smaller --patch or --variant")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--gpu", "RTX 9999"], "not in the table"),
        (["--gpu", "T4", "--device", "cpu"], "--device cpu goes with --memory"),
        (["--memory", "much"], "'much' is not a size"),
        (["--memory", "8GB", "--device", "cpu", "--dtype", "float16"], "float16 is for GPUs"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)


@pytest.mark.parametrize("variant", ["awsrn-sd", "improved-s"])
def test_no_tile_sees_more_than_was_reckoned_with(variant: str) -> None:
    model = create(variant, 2).eval()
    for tile in (32, 100, 160):
        seen = Tiler(model, tile).tiles(1000, 1000)
        most = max(max(rows.high - rows.low, columns.high - columns.low) for rows, columns in seen)
        assert most <= seen_side(Network(variant, 2), tile) <= most + 32


def test_it_runs_as_a_command_without_a_gpu() -> None:
    command = [sys.executable, "-m", "awsrn_fast.fit", "--gpu", "nope"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --gpu 'nope' is not in the table") and done.stderr.count("\n") == 1
