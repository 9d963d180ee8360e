from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import png
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast import limits
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.images.png_rows import PngWriter
from awsrn_fast.inference.colors import keep_colors
from awsrn_fast.models import create
from awsrn_fast.upscale.command import main


def upscale_with_default_weights(source: Path, target: Path, *options: str) -> int:
    return main([str(source), "-o", str(target), *options])


def picture(path: Path, size: tuple[int, int] = (12, 9), mode: str = "RGB") -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    array = np.random.default_rng(1).integers(0, 256, (size[1], size[0], bands)).astype(np.uint8)
    image = Image.fromarray(array[..., 0] if bands == 1 else array)
    image.save(path)
    return np.asarray(image)


def upscale(*arguments: object) -> int:
    return main([*map(str, arguments), "--weights", "unused", "--device", "cpu"])


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_bad_file_is_reported_and_the_others_are_done(tmp_path, bicubic, capsys):
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/sub/c.jpg", mode="L")
    (tmp_path / "in/b[1].png").write_bytes(b"no image")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert files_in(tmp_path / "out") == ["a.png", "sub/c.jpg"]
    assert Image.open(tmp_path / "out/sub/c.jpg").mode == "L"
    said = capsys.readouterr().err
    assert "[1/3]" in said and "12x9 to 24x18" in said
    last = said.strip().splitlines()[-2:]
    assert last[0].startswith("2 of 3 images upscaled x2")
    assert last[1].startswith("failed: ") and "b[1].png: not an image of a known format" in last[1]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 5)])
def test_modes_and_odd_sizes(tmp_path, bicubic, mode, size):
    picture(tmp_path / "a.png", size, mode)
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == mode and image.size == (2 * size[0], 2 * size[1])


def test_sixteen_bits_are_not_cut(tmp_path, bicubic):
    ramp = np.linspace(20000, 20200, 64).astype(np.uint16)[None, :, None].repeat(8, 0).repeat(3, 2)
    with open(tmp_path / "a.png", "wb") as file:
        png.Writer(64, 8, greyscale=False, bitdepth=16).write(file, ramp.reshape(8, -1).tolist())
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "b.png") == 0
    _, _, rows, info = png.Reader(filename=str(tmp_path / "b.png")).read()
    assert info["bitdepth"] == 16 and len(set(next(iter(rows)))) > 60  # in 8 bits the ramp is one level
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "b.jpg") == 1


def test_tiles_and_self_ensemble(tmp_path, bicubic):
    picture(tmp_path / "a.png", (40, 30))
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "whole.png", "--tile", 0) == 0
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "tiles.png", "--tile", 16) == 0
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "mean.png", "--tile", 16, "--self-ensemble") == 0
    whole = np.asarray(Image.open(tmp_path / "whole.png")).astype(int)
    for name in ("tiles.png", "mean.png"):  # bicubic commutes with flips and turns
        assert abs(np.asarray(Image.open(tmp_path / name)) - whole).max() <= 1


def test_tiles_of_a_network_with_pooled_gates_are_said(tmp_path, capsys):
    """With the bundled weights, which are the default."""
    picture(tmp_path / "a.png", (20, 12))
    assert upscale_with_default_weights(tmp_path / "a.png", tmp_path / "whole.png") == 0
    assert "gates" not in capsys.readouterr().err
    assert upscale_with_default_weights(tmp_path / "a.png", tmp_path / "tiles.png", "--tile", "8") == 0
    assert re.search(r"gates frozen: at most [\d.]+ and in the mean [\d.]+ gray levels", capsys.readouterr().err)
    assert Image.open(tmp_path / "tiles.png").size == (80, 48)


def test_orientation_and_remarks(tmp_path, bicubic, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 4), "red").quantize(4).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert upscale(tmp_path / "a.jpg", "-o", tmp_path / "b.jpg") == 0
    assert "(palette converted to RGB; PNG inside, written as JPEG)" in capsys.readouterr().err
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (8, 20) and image.format == "JPEG"


def test_only_a_suffix_that_contradicts_the_content_is_said(tmp_path, bicubic, capsys):
    picture(tmp_path / "a.webp")
    picture(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").rename(tmp_path / "b.png")
    assert upscale(tmp_path / "a.webp", "-o", tmp_path / "out.png") == 0
    assert "inside" not in capsys.readouterr().err
    assert upscale(tmp_path / "b.png", "-o", tmp_path / "out.tif") == 0
    assert "JPEG inside, written as TIFF" in capsys.readouterr().err


@pytest.mark.parametrize("quality", [60, 79, 80, 95])
def test_a_jpeg_of_low_quality_is_named(tmp_path, bicubic, capsys, monkeypatch, quality):
    Image.fromarray(picture(tmp_path / "a.png", (64, 64))).save(tmp_path / "a.jpg", quality=quality)
    assert upscale(tmp_path / "a.jpg", "-o", tmp_path / "b.jpg") == 0
    said = f"JPEG of quality {quality}, whose artefacts are enlarged too"
    assert (said in capsys.readouterr().err) == (quality < 80)
    monkeypatch.setattr("awsrn_fast.upscale.image.FOR_ARTEFACTS", "some-weights")
    assert upscale(tmp_path / "a.jpg", "-o", tmp_path / "c.jpg") == 0
    assert (f"{said}: some-weights is trained for that" in capsys.readouterr().err) == (quality < 80)


def test_what_the_result_does_not_keep_is_said(tmp_path, bicubic, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", comment=b"x", dpi=(72, 72), quality=95)
    assert upscale(tmp_path / "a.jpg", "-o", tmp_path / "b.webp") == 0
    assert "(WEBP keeps no comment)" in capsys.readouterr().err
    assert upscale(tmp_path / "a.jpg", "-o", tmp_path / "c.jpg") == 0
    assert capsys.readouterr().err.splitlines()[0].endswith("MP/s")
    with Image.open(tmp_path / "c.jpg") as image:
        assert image.info["dpi"] == (144, 144)


def test_wrong_usage_writes_nothing(tmp_path, bicubic):
    picture(tmp_path / "a.png")
    cases = [
        ([tmp_path / "gone.png", "-o", tmp_path / "out"], "no such file"),
        ([tmp_path / "a.png", "-o", tmp_path / "a.png"], "would overwrite the input"),
        ([tmp_path / "a.png", "-o", tmp_path / "b.png", "--device", "warp"], "no device 'warp'"),
    ]
    for arguments, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            main([*map(str, arguments), "--weights", "unused"])
        assert caught.value.status == 2
    for option, value in (("--tile", "-1"), ("--quality", "101"), ("--max-pixels", "many"), ("--dtype", "int8")):
        with pytest.raises(UserError, match=f"argument {option}: .*{value}"):
            upscale(tmp_path / "a.png", "-o", tmp_path / "b.png", option, value)
    assert files_in(tmp_path) == ["a.png"]


def test_missing_weights_are_wrong_usage(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="no weights file") as caught:
        main([str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--weights", str(tmp_path / "gone.safetensors")])
    assert caught.value.status == 2


def test_interrupt_leaves_only_whole_files(tmp_path, bicubic, monkeypatch):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    close = PngWriter.close

    def stop_in_the_second(self):
        close(self)
        if "done" in state:
            raise KeyboardInterrupt
        state.add("done")

    state: set[str] = set()
    monkeypatch.setattr(PngWriter, "close", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert files_in(tmp_path / "out") == ["a.png"]


@pytest.fixture
def small_memory(bicubic, monkeypatch) -> None:
    """A network that can take 120 pixels at a time."""
    forward = bicubic.forward

    def small_only(self, x):
        if x.shape[2] * x.shape[3] > 120:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x)

    monkeypatch.setattr(bicubic, "forward", small_only)


def test_out_of_memory_halves_the_tile(tmp_path, small_memory, bicubic, capsys):
    pixels = picture(tmp_path / "a.png", (40, 40))
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "b.png") == 0
    expected = bicubic.facts.scale * pixels.shape[0]
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (expected, expected)


def test_out_of_memory_with_the_smallest_tile_is_that_files_failure(
    tmp_path, small_memory, bicubic, monkeypatch, capsys
):
    monkeypatch.setattr(bicubic.facts, "receptive_field", 21)
    picture(tmp_path / "in/a.png", (40, 40))
    picture(tmp_path / "in/b.png")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert files_in(tmp_path / "out") == ["b.png"]
    assert "a.png: out of memory with the smallest tiles" in capsys.readouterr().err


def test_too_little_memory_is_refused_before_the_work(tmp_path, bicubic, capsys):
    picture(tmp_path / "in/a.png", (40, 50))
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--memory-limit", "100MB") == 1
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--memory-limit", "100MB", "--self-ensemble") == 1
    assert not (tmp_path / "out").exists() or files_in(tmp_path / "out") == []
    said = capsys.readouterr().err
    assert "a.png: 40x50 pixels in the smallest tiles need" in said and "raise --memory-limit" in said
    assert "a.png: --self-ensemble holds the image and its result" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_available_memory_is_a_sensible_number():
    assert 2**20 < limits.memory() < 2**50


@pytest.mark.parametrize("variant", ["awsrn-s", "improved-s"])
def test_real_network_as_a_command(tmp_path, variant):
    torch.manual_seed(0)
    model = create(variant, 2)
    save_weights(tmp_path / "w.safetensors", model)
    pixels = picture(tmp_path / "in/a.png", (37, 21))
    command = [sys.executable, "-m", "awsrn_fast.upscale", "in", "-o", "out", "--weights", "w.safetensors"]
    root = Path(awsrn_fast.__file__).parents[1]
    done = subprocess.run(
        [*command, "--device", "cpu"], cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "37x21 to 74x42" in done.stderr
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = keep_colors(x, model.eval()(x), 2)[0].permute(1, 2, 0).clamp(0, 1).mul(255).numpy()
    written = np.asarray(Image.open(tmp_path / "out/a.png"))
    assert abs(written - expected).max() < 0.51
    again = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True)
    assert again.returncode == 2 and "exists: give --overwrite" in again.stderr and "Traceback" not in again.stderr
