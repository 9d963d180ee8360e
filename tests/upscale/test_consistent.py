"""``upscale --consistent``: files whose results, shrunk again, are the files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast import images
from awsrn_fast.data import downscale, sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.inference.forward_model import forward_model

WEIGHTS = "improved-s-x2"


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    Image.open(sample_folder() / "train" / "raccoon.jpg").crop((200, 100, 296, 150)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def run(*arguments: object) -> None:
    from awsrn_fast.upscale.command import main

    assert main([*map(str, arguments), "--device", "cpu", "--weights", WEIGHTS]) == 0


def array(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_result_is_the_input_again_and_the_residual_is_said(photograph, tmp_path, capsys) -> None:
    run(photograph, "-o", tmp_path / "out.png", "--consistent")
    said = re.search(
        r"residual of bicubic ([\d.]+) \(at most [\d.]+\) gray levels before, ([\d.]+) \(at most ([\d.]+)\) after",
        " ".join(capsys.readouterr().err.split()),
    )
    assert said and float(said[1]) > float(said[2]) and float(said[3]) <= 1
    off = np.abs(downscale(array(tmp_path / "out.png"), 2).astype(int) - array(photograph))
    assert off.max() <= 1 and (off > 0).mean() < 0.03


def test_the_python_interface_gives_the_files_pixels(photograph, tmp_path) -> None:
    run(photograph, "-o", tmp_path / "out.png", "--consistent", "--kernel", "area")
    large = awsrn_fast.load(WEIGHTS).fuse().upscale(array(photograph), consistent="area")
    np.testing.assert_array_equal(large, array(tmp_path / "out.png"))
    means = large.reshape(50, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(means - array(photograph)).max() <= 0.5


@pytest.mark.parametrize("suffix", [".npy", ".txt", ".csv"])
def test_a_kernel_comes_from_a_file(photograph, tmp_path, suffix) -> None:
    taps, file = np.outer([1, 3, 3, 1], [1, 2, 2, 1]) / 48, tmp_path / f"psf{suffix}"
    if suffix == ".npy":
        np.save(file, taps)
    else:
        np.savetxt(file, taps, delimiter="," if suffix == ".csv" else " ")
    run(photograph, "-o", tmp_path / "out.png", "--consistent", "--kernel", file)
    large = torch.from_numpy(array(tmp_path / "out.png").astype(np.float32)).permute(2, 0, 1)[None] / 255
    again = 255 * forward_model(taps, 2).shrunk(large)[0].permute(1, 2, 0).numpy()
    off = np.abs(again - array(photograph))
    assert off.max() < 2 and off.mean() < 0.2


def test_sixteen_bits_alpha_and_gray_are_consistent_too(tmp_path) -> None:
    rng = np.random.default_rng(0)
    deep = (20000 + 200 * np.cumsum(rng.integers(-9, 10, (20, 24)), 1)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    run(tmp_path / "deep.png", "-o", tmp_path / "deep_x2.png", "--consistent", "--kernel", "area")
    large = images.read(tmp_path / "deep_x2.png").color[..., 0].reshape(20, 2, 24, 2)
    assert np.abs(65535 * large.mean((1, 3)) - deep).max() <= 2
    Image.fromarray(rng.integers(60, 200, (9, 8, 2), np.uint8)).save(tmp_path / "la.png")
    run(tmp_path / "la.png", "-o", tmp_path / "la_x2.png", "--consistent", "--kernel", "area")
    again = array(tmp_path / "la_x2.png").reshape(9, 2, 8, 2, 2).mean((1, 3))
    assert np.abs(again - array(tmp_path / "la.png")).max() <= 0.6


def test_tiles_are_as_consistent_as_the_whole(photograph, tmp_path) -> None:
    run(photograph, "-o", tmp_path / "whole.png", "--consistent", "--tile", 0, "--stats", "local")
    run(photograph, "-o", tmp_path / "tiles.png", "--consistent", "--tile", 32, "--stats", "local")
    whole, tiles = array(tmp_path / "whole.png").astype(int), array(tmp_path / "tiles.png").astype(int)
    # The network's tiles agree up to rounding in fp32, which makes a sample in 100,000 another level.
    assert np.abs(whole - tiles).max() <= 1 and (whole != tiles).mean() < 1e-3


def test_options_that_do_not_fit(photograph, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no numbers")
    for arguments, said in {
        ("--kernel", "area"): "--kernel says what --consistent is about",
        ("--consistent", "--outscale", "1.5"): "leave out --outscale, --width and --height",
        ("--consistent", "--kernel", "nearest"): "neither bicubic nor area nor a file of numbers",
        ("--consistent", "--kernel", tmp_path / "notes.txt"): "not a file of numbers, a row a line",
        ("--consistent", "--kernel", photograph): "not a file of numbers, a row a line",
    }.items():
        with pytest.raises(UserError, match=said):
            run(photograph, "-o", tmp_path / "out.png", *arguments)
    assert not (tmp_path / "out.png").exists()
