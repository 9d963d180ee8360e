from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from awsrn_fast.checkpoint import save_weights
from awsrn_fast.compare.command import main
from awsrn_fast.errors import UserError
from awsrn_fast.figure import MARKS, Box, comparison, panels, sharpest_differences
from awsrn_fast.models import create


@pytest.fixture
def photo(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    Image.fromarray(small).resize((61, 47), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.fixture
def weights(tmp_path):
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        save_weights(tmp_path / f"{name}.safetensors", create("awsrn-s", 2))
    return [str(tmp_path / "a.safetensors"), f"{tmp_path / 'b.safetensors'}=second"]


def test_the_original_is_shown_and_measured(photo, weights, tmp_path, capsys):
    assert main([photo, "--hr", "-o", str(tmp_path / "out/c.png"), "--weights", *weights, "--crop-size", "16"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert re.search(r"written: .*c\.png, a, second and bicubic at \d+x\d+ pixels\n", said.err)
    assert [line.split(":")[0] for line in lines] == ["input", "bicubic", "a", "second", "original"]
    assert "dB" in lines[2]
    assert lines[0] == "input: 30x23"
    picture = Image.open(tmp_path / "out/c.png")
    assert picture.width > 5 * 200
    assert picture.height > 2 * 200


def test_an_image_without_original(photo, weights, tmp_path, capsys):
    options = ["-o", str(tmp_path / "c.png"), "--weights", weights[0]]
    assert main([photo, *options, "--crop", "2,4,20,30", "--crop", "90,60,32,34"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "c.png").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "c.gif"], "c.gif"),
        (["--crop", "100,80,30,30"], "100,80,30,30 reaches beyond the result of 122x94"),
        (["--crops", "0"], "--crops"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
    ],
)
def test_wrong_usage(photo, weights, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        main([photo, "-o", str(tmp_path / "c.png"), "--weights", weights[0], *options])
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "-1,0,3,3", "0,0,0,4"])
def test_a_crop_that_is_none(photo, text, tmp_path):
    with pytest.raises(UserError, match=text):
        main([photo, "-o", str(tmp_path / "c.png"), f"--crop={text}"])


def test_two_weights_of_one_title_or_of_two_scales(photo, weights, tmp_path):
    with pytest.raises(UserError, match="title twice"):
        main([photo, "-o", str(tmp_path / "c.png"), "--weights", weights[0], weights[0]])
    save_weights(tmp_path / "x3.safetensors", create("awsrn-s", 3))
    with pytest.raises(UserError, match="x2 and x3"):
        main([photo, "-o", str(tmp_path / "c.png"), "--weights", weights[0], str(tmp_path / "x3.safetensors")])


def test_boxes_stand_where_the_images_differ_and_apart():
    a = np.zeros((40, 60, 3), np.uint8)
    b = a.copy()
    b[8:12, 41:45] = 200
    b[30:34, 4:8] = 100
    assert sharpest_differences(a, b, 2, 4) == [Box(41, 8, 4, 4), Box(4, 30, 4, 4)]
    boxes = sharpest_differences(a, b, 50, 20, 4)
    covered = np.zeros(a.shape[:2], int)
    for box in boxes:
        assert box.left % 4 == 0 and box.top % 4 == 0
        covered[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    assert covered.max() == 1
    assert sharpest_differences(a, b, 1, 99) == [Box(0, 0, 60, 40)]


def test_crops_are_enlarged_unchanged():
    rng = np.random.default_rng(1)
    lr, hr = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((30, 40), (60, 80)))
    box = Box(6, 10, 24, 16)
    made = panels(lr, {"m": hr}, None, 2)
    sheet = np.asarray(comparison(hr, [box], made))
    framed = np.argwhere((sheet == Image.new("RGB", (1, 1), MARKS[0]).getpixel((0, 0))).all(axis=2))
    right = framed[:, 1].max()
    # The last panel's frame of 3 pixels ends at `right`; its crop of 24x16 is enlarged 10 times.
    top = framed[framed[:, 1] == right][:, 0].min() + 3
    crop = sheet[top : top + 160, right - 2 - 240 : right - 2]
    assert (crop[5::10, 5::10] == hr[10:26, 6:30]).all()
    assert (crop == crop[::10, ::10].repeat(10, axis=0).repeat(10, axis=1)).all()
