"""Results of any size, names beside the inputs, the weights that a scale chooses, and what is said of them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from awsrn_fast import bundled, native, remarks
from awsrn_fast.checkpoint import bundled_names
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.images.geo import Georeference
from awsrn_fast.upscale.command import main
from awsrn_fast.upscale.size import Size, shrunk


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def upscale(*arguments: object) -> int:
    return main([*map(str, arguments), "--device", "cpu"])


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def in_strips(values: np.ndarray, rows: int):
    for top in range(0, len(values), rows):
        yield values[top : top + rows]


@pytest.mark.parametrize("after", [(872, 263), (500, 151), (997, 100), (130, 301), (3, 3), (1, 1)])
def test_strips_give_what_the_whole_gives(after: tuple[int, int]) -> None:
    values = np.random.default_rng(1).random((997, 301, 3), dtype=np.float32)
    made = np.concatenate(list(shrunk(in_strips(values, 100), (997, 301), after)))
    planes = [Image.fromarray(values[..., p].copy()).resize(after[::-1], Image.Resampling.LANCZOS) for p in range(3)]
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, np.stack(planes, axis=2), atol=2e-5)


def test_what_cannot_be_seen_does_not_bleed_in() -> None:
    values = np.zeros((40, 40, 4), np.float32)
    values[:, :20] = (1, 0, 0, 1)  # red beside transparent green
    values[:, 20:] = (0, 1, 0, 0)
    (made,) = shrunk(iter([values]), (40, 40), (13, 13))
    seen = made[..., 3] > 0.1
    assert made[..., 3].min() >= 0 and made[..., 3].max() <= 1
    np.testing.assert_allclose(made[seen][:, :3], np.broadcast_to([1, 0, 0], (seen.sum(), 3)), atol=1e-3)


def test_sizes() -> None:
    assert Size(factor=3.5).of(9, 14, 4) == (32, 49)
    assert Size(width=28).of(9, 14, 4) == (18, 28)
    assert Size(height=36).of(9, 14, 4) == (36, 56)
    assert Size(width=20, height=30).of(9, 14, 4) == (30, 20)
    assert Size(width=1).of(9, 14, 4) == (1, 1)
    with pytest.raises(RunError, match="60x39 pixels are x4.33 of 14x9, the network makes x4: give a larger --scale"):
        Size(width=60).of(9, 14, 4)


def test_a_georeference_keeps_its_corners_when_both_sides_grow_differently() -> None:
    before = Georeference((2.0, 3.0, 0.0), (0.0, 0.0, 0.0, 500.0, 900.0, 0.0), (), (), (), "")
    after = before.scaled(2.5, 1.5)
    assert after.pixel_scale == (2.0 / 2.5, 3.0 / 1.5, 0.0)
    assert after.tiepoints == before.tiepoints


@pytest.mark.parametrize(
    "options, name, wide",
    [
        ([], "photo_x4.png", 56),
        (["-s", 2], "photo_x2.png", 28),
        (["-s", 2, "--format", "jpeg"], "photo_x2.jpg", 28),
        (["--outscale", 2.5], "photo_x2.5.png", 35),
        (["--width", 50], "photo_w50.png", 50),
        (["--height", 20, "--width", 20], "photo_w20_h20.png", 20),
    ],
)
def test_without_an_output_the_result_lies_beside_the_input(photo, options, name, wide) -> None:
    assert upscale(photo, *options) == 0
    assert size(photo.with_name(name))[0] == wide
    with pytest.raises(UserError, match="exists"):
        upscale(photo, *options)


@pytest.mark.parametrize(
    "options, said",
    [
        (["-s", "2"], "upscaled x2 in"),
        (["--outscale", "1.5"], "upscaled x1.5 (the network's x2, resampled) in"),
        (["-s", "2", "--width", "20"], "upscaled to a width of 20 (the network's x2, resampled) in"),
    ],
)
def test_the_summary_names_both_sizes(photo, capsys, options: list[str], said: str) -> None:
    assert upscale(photo, *options) == 0
    assert f"1 of 1 images {said}" in capsys.readouterr().err


def test_a_folder_and_several_files_without_an_output(photo, tmp_path) -> None:
    (tmp_path / "scans/deep").mkdir(parents=True)
    photo.rename(tmp_path / "scans/deep/a.png")
    Image.new("L", (5, 5)).save(tmp_path / "b.bmp")
    assert upscale("-i", f"{tmp_path / 'scans'}/", tmp_path / "b.bmp", "-s", 2) == 0
    assert size(tmp_path / "scans_x2/deep/a.png") == (28, 18) and size(tmp_path / "b_x2.bmp") == (10, 10)


def test_beyond_the_network_is_refused(photo) -> None:
    with pytest.raises(UserError, match="--outscale 9: the networks make up to x8"):
        upscale(photo, "--outscale", 9)
    with pytest.raises(UserError, match="--outscale 3: the network makes x2; give a larger --scale"):
        upscale(photo, "--outscale", 3, "-s", 2)
    with pytest.raises(UserError, match="give one"):
        upscale(photo, "--outscale", 3, "--width", 20)
    with pytest.raises(UserError, match="--weights improved-s-x4 is for x4: leave out --scale 2"):
        upscale(photo, "--weights", "improved-s-x4", "--scale", 2)
    with pytest.raises(UserError, match="no image is named"):
        main([])
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_the_licence_is_said_for_weights_that_were_not_chosen(photo, capsys) -> None:
    assert upscale(photo) == 0
    said = capsys.readouterr().err
    assert said.count("non-commercial") == 1 and "improved-s-x4-open is free for commercial use" in said
    assert upscale(photo, "--overwrite", "--weights", "improved-s-x4", "--dtype", "fp32") == 0
    assert "non-commercial" not in capsys.readouterr().err


def test_the_weights_are_listed_on_standard_output(capsys) -> None:
    assert main(["--list-weights"]) == 0
    said = capsys.readouterr()
    lines = {line.split()[1]: line for line in said.out.splitlines() if "improved-s" in line or "awsrn-s" in line}
    assert set(lines) == set(bundled_names()) and said.err == ""
    assert "31.25" in lines["improved-s-x4"] and "non-commercial" in lines["improved-s-x4"]
    assert "commercial use" in lines["improved-s-x4-open"]


@pytest.mark.parametrize("name", bundled_names())
def test_every_card_has_figures_and_every_file_a_licence(name: str) -> None:
    assert set(bundled.psnr_of(name)) == set(bundled.SETS) and bundled.licence_of(name)


def test_pipes_are_called_by_their_names(photo) -> None:
    command = [sys.executable, "-m", "awsrn_fast.upscale", "-", "-s", "2"]
    done = subprocess.run(command, input=photo.read_bytes(), capture_output=True, timeout=300)
    assert done.returncode == 0 and Image.open(io.BytesIO(done.stdout)).size == (28, 18)
    assert b"standard input -> standard output: 14x9 to 28x18" in done.stderr
    done = subprocess.run(command, input=b"no image", capture_output=True, timeout=300)
    assert done.returncode == 1 and b"failed: standard input: not an image" in done.stderr


def test_a_missing_library_is_said_once(photo, monkeypatch, capsys) -> None:
    monkeypatch.setattr(native, "cpu", None)
    monkeypatch.setattr(native, "cpu_reason", "not built: no C++ compiler found")
    monkeypatch.setattr(remarks, "_said", set())
    monkeypatch.setattr(remarks, "spelled", lambda name: f"awsrn-fast {name}")
    assert upscale(photo, "--weights", "improved-s-x2") == 0
    said = capsys.readouterr().err
    expected = "no native library (not built: no C++ compiler found): about 2 times slower; see awsrn-fast info"
    assert said.count(expected) == 1
