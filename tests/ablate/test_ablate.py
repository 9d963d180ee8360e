from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from awsrn_fast.ablate.command import main
from awsrn_fast.ablate.plans import PLANS
from awsrn_fast.config import Config
from awsrn_fast.data import sample_folder
from awsrn_fast.errors import UserError


@pytest.fixture
def options(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setenv("AWSRN_FAST_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    photos.mkdir()
    whole = np.asarray(Image.open(sample_folder() / "train" / "raccoon.jpg"))
    for i in range(3):
        Image.fromarray(whole[200 + 70 * i :][:80, 300:380]).save(photos / f"{i}.png")
    shared = "--variant awsrn-sd --scale 2 --iterations 2 --checkpoint-every 2 --log-every 1 --device cpu"
    sizes = "--patch 8 --batch 2 --dtype float32"
    return [*shared.split(), *sizes.split(), "--data", str(photos), "--out", str(tmp_path / "out")]


def test_an_ablation_writes_one_table_and_one_plot_and_runs_nothing_twice(options, tmp_path, capsys) -> None:
    assert main([*options, "--seeds", "0", "1"]) == 0
    folder = tmp_path / "out" / "mpts"
    with open(folder / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["row"] for line in table] == ["baseline", "+curriculum", "+sgdr", "+fass", "all"]
    assert all(line["runs"] == "2" and float(line["PSNR"]) > 5 for line in table)
    assert table[0]["over the first row"] == "+0.00"
    assert (folder / "table.md").read_text().count("\n") == 7
    assert Image.open(folder / "plot.png").size[0] > 500
    capsys.readouterr()
    assert main([*options, "--seeds", "0", "1"]) == 0
    assert "1/2" not in capsys.readouterr().err, "a row that is done was trained again"


def test_what_the_plan_decides_cannot_be_given(options) -> None:
    with pytest.raises(UserError, match="--sgdr is set by the plan"):
        main([*options, "--sgdr", "false"])


def test_plans_name_fields_of_the_configuration() -> None:
    for plan in PLANS.values():
        assert len({tuple(sorted(fields.items())) for fields in plan.values()}) == len(plan), "two rows are the same"
        for fields in plan.values():
            Config(**fields).check()
