from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from awsrn_fast.checkpoint import save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.evaluate.command import main
from awsrn_fast.models import create


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
    assert "mine" not in second
    assert "mine-x3" in capsys.readouterr().err
    for name in ("B100-x4-largest.png", "B100-x4-median.png", "Urban100-x4-largest.png", "Urban100-x4-median.png"):
        assert f"]({name})" in first
        Image.open(tmp_path / "t" / name).load()
    assert "![" not in second


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
