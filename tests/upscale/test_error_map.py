"""``upscale --error-map``: the estimate is written as it is made, and it is right in the mean."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast.checkpoint import BUNDLED, bundled_names, save_weights
from awsrn_fast.data import find_images, sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.inference.error_model import FEATURES, features, read_error_model
from awsrn_fast.models import create
from awsrn_fast.upscale.command import main
from awsrn_fast.upscale.error_map import error_model

NAME = "improved-s-x2"
SCRIPT = Path(__file__).resolve().parents[2] / "training" / "error_map.py"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.open(sample_folder() / "train" / "raccoon.jpg").crop((200, 100, 290, 170)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("error_map_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(photo: Path, tmp_path: Path, *options: object, weights: object = NAME) -> int:
    arguments = [photo, "-o", tmp_path / "out.png", "--weights", weights, "--overwrite", "--device", "cpu", *options]
    return main([*map(str, arguments)])


def test_the_map_is_the_models_in_gray_levels(photo, tmp_path, capsys) -> None:
    assert run(photo, tmp_path, "--error-map", tmp_path / "map.tif") == 0
    written = tifffile.imread(tmp_path / "map.tif")
    model = read_error_model(BUNDLED / f"{NAME}.error.json")
    x = torch.from_numpy(np.asarray(Image.open(photo)).astype(np.float32)).permute(2, 0, 1)[None] / 255
    y = awsrn_fast.load(NAME).fuse().upscale(x)
    assert written.dtype == np.float32 and written.shape == (140, 180)
    np.testing.assert_allclose(written, model(x, y, 2)[0, 0], rtol=2e-3, atol=1e-3)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"error estimated at {written.mean():.2f} gray levels in the mean; 90 % are below {model.interval:.2f}" in said
    )


def test_parts_give_what_the_whole_gives(photo, tmp_path, monkeypatch) -> None:
    assert run(photo, tmp_path, "--error-map", tmp_path / "whole.tif") == 0
    monkeypatch.setattr("awsrn_fast.inference.corrections._COLUMNS", 40)
    monkeypatch.setattr("awsrn_fast.inference.corrections._BYTES", 1)
    assert run(photo, tmp_path, "--error-map", tmp_path / "parts.tif") == 0
    whole, parts = (tifffile.imread(tmp_path / name) for name in ("whole.tif", "parts.tif"))
    np.testing.assert_allclose(parts, whole, rtol=1e-3)


def test_a_map_in_colours_and_images_with_alpha(photo, tmp_path) -> None:
    image = np.asarray(Image.open(photo).convert("RGBA")).copy()
    image[:20, :20, 3] = 100
    Image.fromarray(image).save(photo)
    assert run(photo, tmp_path, "--error-map", tmp_path / "map.png") == 0
    assert run(photo, tmp_path, "--error-map", tmp_path / "map.tif") == 0
    shown = np.asarray(Image.open(tmp_path / "map.png")).astype(int)
    levels = tifffile.imread(tmp_path / "map.tif")
    assert shown.shape == (140, 180, 3)
    assert np.corrcoef(shown.sum(2).ravel(), np.minimum(levels, 48).ravel())[0, 1] > 0.995


def test_several_images_and_weights_of_one_s_own(photo, tmp_path, capsys) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "own.safetensors", create("awsrn-s", 2))
    Image.open(photo).convert("L").save(tmp_path / "gray.png")
    arguments = [photo, tmp_path / "gray.png", "-o", tmp_path / "out", "--error-map", tmp_path / "maps"]
    assert main([*map(str, arguments), "--weights", str(tmp_path / "own.safetensors"), "--device", "cpu"]) == 0
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["gray_error.tif", "in_error.tif"]
    assert "fitted for improved-s-x2" in " ".join(capsys.readouterr().err.split())


def test_wrong_usage_is_said_before_the_work(photo, tmp_path) -> None:
    (tmp_path / "map.tif").write_text("mine")
    for options, said in {
        ("map.jpg",): r"\.tif holds the numbers, \.png a picture",
        ("map.tif",): "give --overwrite to replace it, or choose another --error-map",
        ("new.tif", "--outscale", "1.5"): "--error-map is of the network's whole scale",
    }.items():
        arguments = [str(photo), "-o", str(tmp_path / "out.png"), "--weights", NAME]
        with pytest.raises(UserError, match=said):
            main([*arguments, "--error-map", str(tmp_path / options[0]), *options[1:]])
    assert not (tmp_path / "out.png").exists() and (tmp_path / "map.tif").read_text() == "mine"


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_file_has_an_estimate(name: str) -> None:
    model = error_model(name, awsrn_fast.load(name).facts.scale)
    assert (
        model.weights in bundled_names() and len(model.coefficients) == 1 + len(FEATURES) and 1.5 < model.interval < 4
    )


def test_a_damaged_model_is_named(tmp_path) -> None:
    (tmp_path / "a.json").write_text('{"coefficients": {}}')
    with pytest.raises(UserError, match="cannot read the error model"):
        read_error_model(tmp_path / "a.json")


def test_features_are_those_that_are_named() -> None:
    x = torch.rand(1, 3, 6, 5)
    found = features(x, torch.rand(1, 3, 18, 15), 3)
    assert len(found) == len(FEATURES) and all(each.shape == (1, 1, 18, 15) for each in found)
    flat = features(torch.full_like(x, 0.5), torch.full((1, 3, 18, 15), 0.5), 3)
    assert max(each.max() for each in flat) < np.log(0.31)


def test_refitting_on_photographs_calibrates_there(script) -> None:
    network = awsrn_fast.load(NAME).fuse()
    rows, errors = script.drawn(network, sorted(find_images([sample_folder() / "valid"])), 4000)
    model = script.fitted(rows, errors, NAME)
    correlation, within, estimates, means = script.judged(model, rows, errors)
    assert correlation > 0.5 and within == pytest.approx(0.9, abs=0.01)
    assert estimates.mean() == pytest.approx(means.mean(), rel=1e-3) and (np.diff(means) > 0).all()


@pytest.mark.parametrize("name", ["B100", "Urban100"])
def test_the_estimate_is_calibrated_on_other_photographs(shared_data, script, name) -> None:
    """Every twentieth image of the sets; docs/measurements.md has the figures of the whole."""
    model = read_error_model(BUNDLED / "improved-s-x4.error.json")
    files = sorted(find_images([shared_data / name]))[::20]
    network = awsrn_fast.load("improved-s-x4").fuse()
    correlation, within, _, means = script.judged(model, *script.drawn(network, files, 4000))
    assert correlation > 0.6 and 0.85 < within < 0.95
    assert (np.diff(means) > 0).all()
