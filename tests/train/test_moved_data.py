"""Images that moved, changed, or measure nothing."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import SMALL_RUN, assert_same_run, make_photos

from awsrn_fast.errors import UserError
from awsrn_fast.train.command import main
from awsrn_fast.train.step import Step


@pytest.fixture
def whole(options, tmp_path: Path) -> Path:
    assert main([*options, "--out", str(tmp_path / "whole")]) == 0
    return tmp_path / "whole"


def half(options: list[str], monkeypatch) -> None:
    """The run, stopped after its first checkpoint."""
    original = Step.__call__

    def stopping(self, *batch):
        loss = original(self, *batch)
        if self.learner.iteration == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", stopping)
        assert main(options) == 130


def test_a_run_goes_on_bit_equal_from_another_folder_and_with_moved_images(
    whole, tmp_path, monkeypatch, capsys
) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    make_photos(tmp_path / "here" / "data")
    monkeypatch.chdir(tmp_path / "here")
    half([*SMALL_RUN, "--data", "data", "--out", str(tmp_path / "run")], monkeypatch)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert main(["--out", "run", "--resume"]) == 0
    assert_same_run(whole, tmp_path / "run")

    (tmp_path / "here" / "data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="no longer in .*data: name their new place by --data"):
        main(["--out", "copy", "--resume"])
    assert main(["--out", "copy", "--resume", "--data", "moved"]) == 0
    assert_same_run(whole, tmp_path / "copy")
    assert "than the run began with" not in capsys.readouterr().err

    Image.new("RGB", (80, 64), "red").save(tmp_path / "moved" / "more.png")
    assert main(["--out", "copy", "--resume", "--data", "moved", "--iterations", "9"]) == 0
    assert "other training images than the run began with (3 images" in capsys.readouterr().err


def test_small_and_flat_pictures_are_not_validated_on(photos, tmp_path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    for i in range(40):  # so many that by their content some would be held out
        Image.fromarray(np.full((12, 80, 3), i, np.uint8)).save(data / f"icon{i}.png")
    run = [*SMALL_RUN, "--fass", "false", "--iterations", "1"]
    assert main([*run, "--data", str(data), "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().err
    assert "40 images of less than 15 pixels are too small to validate on: " in said and "icon0.png" in said
    assert "43 training and 1 validation images" in said

    valid = tmp_path / "valid"
    valid.mkdir()
    Image.new("RGB", (64, 64), "gray").save(valid / "flat.png")
    Image.new("RGB", (64, 8), "gray").save(valid / "tiny.png")
    with_valid = [*run, "--data", str(data), "--valid", str(valid), "--out", str(tmp_path / "b")]
    with pytest.raises(UserError, match="no validation image can be measured .*give others by --valid"):
        main(with_valid)
    shutil.copy(photos / "0.png", valid / "good.png")
    assert main(with_valid) == 0
    said = capsys.readouterr().err
    assert "flat.png: bicubic restores it exactly" in said and "tiny.png: too small to validate on" in said
    assert "inf" not in said
    assert "1 training images are among the validation images, and are not trained on" in said


@pytest.mark.parametrize("option", ["--data", "--valid"])
def test_a_folder_without_a_name_is_refused(options, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} is .*with a name"):
        main([*options, option, ""])


def test_degradations_drawn_for_every_patch_go_on_bit_equal(options, tmp_path, monkeypatch) -> None:
    drawn = ["--noise", "0", "15", "--jpeg", "40", "95", "--blur", "0", "2", "--anisotropic", "true"]
    drawn += ["--resize", "bicubic", "area", "--second-order", "0.5", "--poisson", "0.5"]
    assert main([*options, *drawn, "--out", str(tmp_path / "whole")]) == 0
    half([*options, *drawn], monkeypatch)
    assert main(["--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    with pytest.raises(UserError, match="degradation noise must be .*the smaller first"):
        main([*options, "--noise", "9", "3"])
