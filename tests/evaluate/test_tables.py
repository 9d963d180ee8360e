from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from awsrn_fast import checkpoint
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.evaluate import cost
from awsrn_fast.evaluate.command import main
from awsrn_fast.inference.process_memory import most_taken
from awsrn_fast.models import create


@pytest.fixture(autouse=True)
def small_costs(monkeypatch):
    monkeypatch.setattr(cost, "TURNS", 1)
    monkeypatch.setattr(cost, "HEIGHT", 64)
    monkeypatch.setattr(cost, "WIDTH", 96)


@pytest.fixture
def sets(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("B100", "Urban100"):
        for i in range(3):
            small = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
            path = tmp_path / name / f"HR/{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small).resize((72, 64), Image.Resampling.BICUBIC).save(path)
    return ["--data", str(tmp_path / "B100"), str(tmp_path / "Urban100")]


def _weights(folder, scale):
    torch.manual_seed(0)
    save_weights(folder / f"mine-x{scale}.safetensors", create("awsrn-s", scale))
    return str(folder / f"mine-x{scale}.safetensors")


def test_measured_stands_beside_published(sets, tmp_path, capsys):
    assert main([_weights(tmp_path, 4), _weights(tmp_path, 3), *sets, "--tables", str(tmp_path / "t")]) == 0
    text = (tmp_path / "t/tables.md").read_text()
    first, second = text.split("### Table II")
    assert "| improved AWSRN | the paper's claim | 28.47 / 0.7592 | 27.35 / 0.8169 |" in first
    assert "| mine-x4 (588 K parameters) | measured here |" in first
    assert "| bicubic | measured here |" in second
    costs = first.partition("### Cost of 96x64 at x4, float32 on cpu with")[2]
    assert "| improved-s | 583,271 | 37.5 G | 30.1 G |" in costs and "| mine-x4 | 587,742 | 33.7 G | 26.4 G |" in costs
    assert "| awsrn-s |" not in costs  # mine is that
    assert "mine" not in second and "| awsrn-s |" in second and "| improved-s |" in second
    assert "mine-x3" in capsys.readouterr().err
    for name in ("B100-x4-largest.png", "B100-x4-median.png", "Urban100-x4-largest.png", "Urban100-x4-median.png"):
        assert f"]({name})" in first
        Image.open(tmp_path / "t" / name).load()
    assert "![" not in second


def test_bundled_weights_are_found_by_themselves(sets, tmp_path, monkeypatch, capsys):
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    for scale in (2, 8):
        save_weights(bundled / f"new-x{scale}.safetensors", create("awsrn-s", scale))
    monkeypatch.setattr(checkpoint, "BUNDLED", bundled)
    assert main([*sets, "--tables", str(tmp_path / "t")]) == 0
    first, second = (tmp_path / "t/tables.md").read_text().split("### Table II")
    assert "new-x8" in second and "new-" not in first
    assert "new-x2" not in capsys.readouterr().err


def test_cost_is_that_of_the_run() -> None:
    networks = cost.with_counterparts({}, 4)
    assert list(networks) == ["awsrn-s", "improved-s"]
    taken = most_taken(lambda: torch.ones(10_000_000))
    assert taken is None or 39_000_000 < taken < 42_000_000


def test_an_image_that_cannot_be_used_is_named(sets, tmp_path, capsys):
    (tmp_path / "B100/HR/broken.png").write_bytes(b"no image")
    assert main([_weights(tmp_path, 4), *sets, "--tables", str(tmp_path / "t")]) == 1
    assert "broken.png" in capsys.readouterr().err
    assert (tmp_path / "t/tables.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one weights file"),
        (["a.pth", "b.pth"], "2 were given"),
        (["--tables", "t", "--scale", "4"], "leave out --scale"),
        (["--tables", "t", "--json", "f.json"], "leave out --json"),
    ],
)
def test_wrong_usage(sets, arguments, said):
    with pytest.raises(UserError, match=said):
        main([*arguments, *sets])
