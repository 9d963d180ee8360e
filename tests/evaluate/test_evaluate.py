from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.data import crop_to_multiple, downscale, upscale
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.evaluate.command import main
from awsrn_fast.inference import Placed, SelfEnsemble
from awsrn_fast.metrics import score, super_resolve
from awsrn_fast.models import create


def _photo(height, width, seed):
    small = np.random.default_rng(seed).integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def sets(tmp_path):
    for i, (height, width) in enumerate([(41, 60), (50, 37)]):
        _save(tmp_path / f"One/HR/{i}.png", _photo(height, width, i))
    _save(tmp_path / "Two/a.png", _photo(45, 45, 5))
    return [str(tmp_path / "One"), str(tmp_path / "Two")]


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", create("awsrn-s", 2))
    return str(tmp_path / "w.safetensors")


def _expected(height, width, seed, scale, method):
    hr = crop_to_multiple(_photo(height, width, seed), scale)
    result = method(downscale(hr, scale))
    return result, score(result, hr, scale)


def test_bicubic_in_all_forms(sets, tmp_path, capsys):
    options = ["--json", str(tmp_path / "r/f.json"), "--csv", str(tmp_path / "r/f.csv")]
    options += ["--save-images", str(tmp_path / "out")]
    assert main(["bicubic", "--data", *sets, "--scale", "3", *options]) == 0
    pictures, scores = zip(
        *(_expected(*args, 3, lambda lr: upscale(lr, 3)) for args in [(41, 60, 0), (50, 37, 1)]), strict=True
    )
    content = json.loads((tmp_path / "r/f.json").read_text())
    assert list(content) == ["One", "Two"]
    one = content["One"]
    assert list(one) == ["psnr", "ssim", "n", "images"]
    assert one["n"] == 2
    assert one["images"] == {str(i): {"psnr": s.psnr, "ssim": s.ssim} for i, s in enumerate(scores)}
    assert one["psnr"] == pytest.approx(np.mean([s.psnr for s in scores]))
    assert one["ssim"] == pytest.approx(np.mean([s.ssim for s in scores]))
    rows = list(csv.reader((tmp_path / "r/f.csv").open()))
    assert rows[0] == ["set", "image", "psnr", "ssim"]
    assert [row[:2] for row in rows[1:]] == [["One", "0"], ["One", "1"], ["Two", "a"]]
    assert float(rows[1][2]) == pytest.approx(scores[0].psnr, abs=1e-5)
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/One/{i}.png")), picture)
    table = capsys.readouterr().out
    assert f"{one['psnr']:.2f}" in table and f"{one['ssim']:.4f}" in table


def test_a_network_at_its_own_scale_and_its_self_ensemble_apart(sets, weights, tmp_path):
    assert main([weights, "--data", sets[0], "--json", str(tmp_path / "f.json"), "--self-ensemble"]) == 0
    network = Placed(awsrn_fast.load(weights))
    content = json.loads((tmp_path / "f.json").read_text())
    assert list(content) == ["One", "One+"]
    for name, form in (("One", network), ("One+", SelfEnsemble(network))):
        _, expected = _expected(41, 60, 0, 2, lambda lr, form=form: super_resolve(form, lr))
        # Fused weights differ within fp32 rounding, which may turn single levels.
        assert content[name]["images"]["0"]["psnr"] == pytest.approx(expected.psnr, abs=0.01)
    assert content["One"]["psnr"] != content["One+"]["psnr"]


def test_a_broken_image_is_named_and_left_out(sets, tmp_path, capsys):
    (tmp_path / "One/HR/0.png").write_bytes(b"not an image")
    _save(tmp_path / "Two/small.png", _photo(12, 12, 0))
    assert main(["bicubic", "--data", *sets, "--scale", "2", "--json", str(tmp_path / "f.json")]) == 1
    content = json.loads((tmp_path / "f.json").read_text())
    assert list(content["One"]["images"]) == ["1"] and content["One"]["n"] == 1
    err = capsys.readouterr().err
    assert "2 of 4 images could not be used" in err
    assert "0.png: not an image" in err and "small.png: an image of 12x12 is too small" in err


def test_a_set_without_a_usable_image_has_no_figures(tmp_path):
    (tmp_path / "Bad").mkdir()
    (tmp_path / "Bad/a.png").write_bytes(b"")
    assert main(["bicubic", "--data", str(tmp_path / "Bad"), "--scale", "2", "--json", str(tmp_path / "f.json")]) == 1
    assert json.loads((tmp_path / "f.json").read_text()) == {"Bad": {"psnr": None, "ssim": None, "n": 0, "images": {}}}


def test_equal_images_give_valid_json(tmp_path):
    _save(tmp_path / "Flat/a.png", np.full((40, 40, 3), 90, np.uint8))
    assert main(["bicubic", "--data", str(tmp_path / "Flat"), "--scale", "2", "--json", str(tmp_path / "f.json")]) == 0
    content = json.loads((tmp_path / "f.json").read_text(), parse_constant=pytest.fail)
    assert content["Flat"]["psnr"] is None and content["Flat"]["ssim"] == pytest.approx(1)


def test_lr_from_the_sets_own_files(sets, tmp_path):
    given = _photo(20, 30, 9)
    _save(tmp_path / "One/LR/X2/0x2.png", given)
    _save(tmp_path / "One/LR/X2/1x2.png", given)
    command = ["bicubic", "--data", sets[0], "--scale", "2", "--lr", "LR", "--json", str(tmp_path / "f.json")]
    assert main(command) == 1  # the second LR image has the wrong size
    hr = crop_to_multiple(_photo(41, 60, 0), 2)
    content = json.loads((tmp_path / "f.json").read_text())["One"]["images"]
    assert content == {
        "0": {
            "psnr": pytest.approx(score(upscale(given, 2), hr, 2).psnr),
            "ssim": pytest.approx(score(upscale(given, 2), hr, 2).ssim),
        }
    }


def test_images_of_one_stem_keep_apart(tmp_path):
    for name in ("x/a.png", "y/a.png", "b.png"):
        _save(tmp_path / "S" / name, _photo(30, 30, 1))
    assert main(["bicubic", "--data", str(tmp_path / "S"), "--scale", "2", "--json", str(tmp_path / "f.json")]) == 0
    assert set(json.loads((tmp_path / "f.json").read_text())["S"]["images"]) == {"b", "x/a.png", "y/a.png"}


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["bicubic", "--data", "{one}", "{tmp}/nowhere", "--scale", "2"], "no folder .*nowhere"),
        (["bicubic", "--data", "{one}"], "--scale is missing"),
        (["bicubic", "--data", "{one}", "{one}/HR", "--scale", "2"], "2 sets named One"),
        (["bicubic", "--data", "{one}", "--scale", "2", "--self-ensemble"], "--self-ensemble is for networks"),
        (["bicubic", "--data", "{one}", "--scale", "2", "--lr", "LR"], "no folder .*LR"),
        (["bicubic", "--data", "{one}", "--scale", "2", "--json", "{tmp}"], "is a folder"),
        (["{weights}", "--data", "{one}", "--scale", "3"], "is for x2"),
        (["{tmp}/none.safetensors", "--data", "{one}"], "none.safetensors"),
        (["{weights}", "--data", "{one}", "--device", "abacus"], "abacus"),
    ],
)
def test_wrong_usage_is_said_before_any_work(sets, weights, tmp_path, arguments, reason, monkeypatch):
    monkeypatch.setattr("awsrn_fast.evaluate.command.measure", None)
    names = {"one": sets[0], "tmp": tmp_path, "weights": weights}
    with pytest.raises(UserError, match=reason) as caught:
        main([argument.format(**names) for argument in arguments])
    assert caught.value.status == 2


def test_results_that_cannot_be_written_end_the_command(sets, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write"):
        main(["bicubic", "--data", *sets, "--scale", "2", "--save-images", str(tmp_path / "file")])


def test_the_command_line(sets):
    command = [sys.executable, "-m", "awsrn_fast.evaluate"]
    done = subprocess.run([*command, "bicubic", "--data", *sets, "--scale", "2"], capture_output=True, text=True)
    assert done.returncode == 0 and "One" in done.stdout and "One" not in done.stderr
    wrong = subprocess.run([*command, "bicubic", "--data", "nowhere", "--scale", "2"], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: no folder nowhere")
