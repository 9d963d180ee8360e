"""Runs of stage G by the command: what they need, what they leave, and that they resume bit-equal."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.data import sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.models import create
from awsrn_fast.train.command import main, read_config
from awsrn_fast.train.state import read_state
from awsrn_fast.train.step import Step


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("AWSRN_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two images that the discriminator can judge, one that it cannot, and a small one to validate on."""
    folder = tmp_path_factory.mktemp("photos")
    whole = np.asarray(Image.open(sample_folder() / "train" / "raccoon.jpg"))
    for name, side in (("train/large", 200), ("train/fitting", 192), ("train/small", 188), ("valid/one", 64)):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(whole[100:, 200:][:side, :side]).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Weights as a run in stage P leaves them."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("p") / "best.safetensors"
    save_weights(path, create("awsrn-sd", 4), training={"stage": "P"})
    return path


@pytest.fixture(scope="module")
def options(photos, start, vgg_file) -> list[str]:
    sizes = ["--variant", "awsrn-sd", "--stage", "G", "--batch", "1", "--iterations", "4", "--checkpoint-every", "4"]
    losses = ["--vgg-weights", str(vgg_file), "--perceptual-layers", "conv1_1", "conv2_1", "--sgdr", "false"]
    rest = ["--log-every", "2", "--device", "cpu", "--dtype", "float32"]
    return [*sizes, *losses, *rest, "--init", str(start), "--data", str(photos)]


@pytest.fixture
def out(tmp_path) -> Path:
    """A folder for runs, emptied at the end: a training state of this stage has 350 MB."""
    yield tmp_path
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder, ignore_errors=True)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_interrupted_run_resumes_bit_equal(options, vgg_file, out, tmp_path_factory, monkeypatch, capsys) -> None:
    whole, resumed = out / "whole", out / "resumed"
    assert main([*options, "--out", str(whole)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "loss: 0.01 L1 + 1 VGG + 0.005 GAN, VGG at conv1_1, conv2_1 by l1" in said
    assert "are not torchvision's published VGG19 weights" in said
    assert "1 of 3 images are smaller than 192 x 192 and left out, such as small" in said
    assert "stage G trains for perceptual quality" in said

    assert list(rows(whole / "metrics.csv")[0]) == ["iteration", "loss", "lr", "images_per_s", "val_psnr"]
    taken = rows(whole / "losses.csv")
    assert list(taken[0]) == ["iteration", "pixel", "perceptual", "adversarial", "discriminator", "real", "fake"]
    totals = {row["iteration"]: float(row["loss"]) for row in rows(whole / "metrics.csv") if row["loss"]}
    for row in taken:
        parts = 1e-2 * float(row["pixel"]) + float(row["perceptual"]) + 5e-3 * float(row["adversarial"])
        assert totals.pop(row["iteration"]) == pytest.approx(parts, rel=1e-4)
    assert not totals

    step = Step.__call__

    def step_then_ctrl_c(self, *batch):
        loss = step(self, *batch)
        if self.learner.iteration == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", step_then_ctrl_c)
        assert main([*options, "--out", str(resumed)]) == 130
    moved = tmp_path_factory.mktemp("moved") / "vgg.pth"
    other = moved.with_name("other.pth")
    moved.write_bytes(vgg_file.read_bytes())
    torch.save({k: v + 1 for k, v in torch.load(moved, weights_only=True).items() if v.numel() < 150_000}, other)
    again = ["--out", str(resumed), "--resume", "--vgg-weights"]
    with pytest.raises(UserError, match="was started with other VGG19 weights than .*other.pth .*SHA-256"):
        main([*again, str(other)])
    assert main([*again, str(moved)]) == 0

    before, after = (read_state(run / "state.pt") for run in (whole, resumed))
    for part in ("model", "average"):
        assert all(torch.equal(before[part][key], after[part][key]) for key in before[part])
    before, after = before["opponent"], after["opponent"]
    weights = before["discriminator"]
    assert weights and all(torch.equal(weights[key], after["discriminator"][key]) for key in weights)
    for slot, moments in before["optimizer"]["state"].items():
        assert all(torch.equal(moments[key], after["optimizer"]["state"][slot][key]) for key in moments)
    assert rows(resumed / "losses.csv") == taken


def test_the_start_is_the_network_of_stage_p(options, start, out, capsys) -> None:
    short = ["--lr", "1e-12", "--iterations", "1", "--ema", "0", "--stage", "G-literal", "--out", str(out / "run")]
    assert main([*options, *short]) == 0
    assert "loss: 5 VGG + 0.15 GAN, VGG at conv1_1, conv2_1 by l2" in capsys.readouterr().err
    before, after = (awsrn_fast.load(path) for path in (start, out / "run" / "last.safetensors"))
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8)
    (row,) = rows(out / "run" / "losses.csv")
    assert row["pixel"] == "" and float(row["perceptual"]) > 0


def test_stage_g_at_full_depth(options, out) -> None:
    assert main([*options, "--perceptual-layers", "conv5_4", "--iterations", "1", "--out", str(out / "run")]) == 0
    (row,) = rows(out / "run" / "losses.csv")
    assert all(np.isfinite(float(value)) and float(value) > 0 for value in row.values())


class TestConfig:
    def test_a_stage_brings_its_defaults(self, tmp_path) -> None:
        needed = ["--init", "p.safetensors", "--vgg-weights", "vgg.pth"]
        found = read_config(["--preset", "quick", "--stage", "G", *needed])
        assert (found.lr, found.curriculum, found.patch, found.perceptual_norm) == (1e-4, False, 48, "l1")
        assert (found.discriminator_lr, found.betas, found.iterations) == (1e-4, (0.9, 0.99), 1000)
        file = tmp_path / "g.yaml"
        file.write_text("stage: G-literal\nscale: 3\nlr: 2.0e-4\nperceptual_norm: l1\n")
        found = read_config(["--config", str(file), *needed])
        assert (found.lr, found.curriculum, found.patch, found.perceptual_norm) == (2e-4, False, 64, "l1")
        plain = read_config([])
        assert (plain.stage, plain.lr, plain.curriculum, plain.patch) == ("P", 1e-3, True, 48)
        assert plain.betas == (0.9, 0.999) and not plain.is_adversarial

    def test_contradictions_are_said(self, options, photos, start, tmp_path) -> None:
        def refused(arguments: list[str], message: str) -> None:
            with pytest.raises(UserError, match=message) as error:
                main([*options, "--out", str(tmp_path / "run"), *arguments])
            assert "\n" not in str(error.value)
            assert not (tmp_path / "run").exists()

        refused(["--init", ""], "--init is '': must be the weights of a run in stage P: stage G starts from them")
        refused(["--vgg-weights", ""], "--vgg-weights is '': must be a local file: torchvision's VGG19_W.*SHA-256")
        refused(["--curriculum", "true"], "--curriculum is True: must be false: the discriminator of stage G judges HR")
        refused(
            ["--patch", "32"], "--patch is 32: must be 48 at x4: the discriminator of stage G judges HR patches of 192"
        )
        refused(["--stage", "P"], "must be left out in stage P, which has no VGG loss; add --stage G")
        refused(["--stage", "Q"], "--stage: Expected .*'G-literal'.*Got value: Q")
        refused(["--perceptual-layers", "conv6_1"], "no layer 'conv6_1' in VGG19")
        refused(["--perceptual-norm", "l3"], "--perceptual_norm: Expected .*Got value: l3")
        refused(["--discriminator-lr", "0"], "--discriminator-lr is 0.0: must be above 0")
        refused(["--vgg-weights", str(tmp_path / "vgg19-dcbb9e9d.pth")], "no VGG19 weights .*SHA-256 dcbb9e9d")
        refused(["--init", str(tmp_path / "gone.safetensors")], "no weights file .*gone.safetensors")
        small = [str(photos / "train" / "small.png")]
        refused(["--data", *small], "no training image holds the 192 x 192 pixels that the discriminator judges")
