"""``upscale --report`` and ``replay``: what was done is on record, and done again gives the same bits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast.checkpoint import BUNDLED, save_weights
from awsrn_fast.data import sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.models import create
from awsrn_fast.replay.command import main as replay
from awsrn_fast.upscale.command import main

NAME = "improved-s-x2"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.open(sample_folder() / "train" / "raccoon.jpg").crop((200, 100, 284, 170)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.fixture
def upscale(photo: Path, tmp_path: Path) -> Callable[..., dict]:
    """Upscale the photograph with a record; the record's content."""

    def run(*options: object, weights: object = NAME) -> dict:
        arguments = [photo, "-o", tmp_path / "out.png", "--weights", weights, "--report", tmp_path / "run.json"]
        assert main([*map(str, (*arguments, *options)), "--overwrite", "--device", "cpu"]) == 0
        return json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))

    return run


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_the_record_says_what_was_done(upscale, photo, tmp_path) -> None:
    record = upscale("--tile", 32)
    (image,) = record["images"]
    assert image["input"]["sha256"] == digest(photo) and image["output"]["sha256"] == digest(tmp_path / "out.png")
    assert (image["input"]["width"], image["output"]["width"]) == (84, 168)
    assert record["weights"]["sha256"] == digest(BUNDLED / f"{NAME}.safetensors")
    assert record["versions"]["torch"] == torch.__version__ and record["machine"]["cpu"]["cores"] == os.cpu_count()
    assert record["kernels"]["awms"] in ("cpu", "reference") and record["device"] == "cpu"
    assert record["options"]["tile"] == 32 and image["tile"] == [32, 32]
    assert image["gates"]["mode"] == "frozen" and 0 <= image["gates"]["deviation"]["rms"] < 0.5
    assert image["residual"]["kernel"] == "bicubic" and image["residual"]["before"]["rms"] > 0.1
    assert image["residual"]["after"] is None
    assert image["seconds"] > 0 and record["peak_memory_bytes"] > 1e8
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert digest(photo) in page and "frozen" in page and not re.search(r"https?:|src=", page)


def test_measuring_for_the_record_changes_no_pixel(upscale, photo, tmp_path) -> None:
    upscale()
    assert main([str(photo), "-o", str(tmp_path / "plain.png"), "--weights", NAME, "--device", "cpu"]) == 0
    plain, recorded = (np.asarray(Image.open(tmp_path / name)) for name in ("plain.png", "out.png"))
    np.testing.assert_array_equal(plain, recorded)


@pytest.mark.parametrize(
    "options",
    [("--consistent", "--kernel", "area", "--tile", "48"), ("--stats", "exact", "--tile", "32"), ("--outscale", "1.7")],
)
def test_a_replay_gives_the_same_bits(upscale, tmp_path, capsys, options) -> None:
    upscale(*options)
    assert replay([str(tmp_path / "run.json"), "--keep", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.strip().endswith("out.png: the same bits")
    assert digest(tmp_path / "again" / "1" / "out.png") == digest(tmp_path / "out.png")


def test_a_kernel_of_numbers_is_in_the_record(upscale, tmp_path, capsys) -> None:
    np.save(tmp_path / "psf.npy", np.outer([1, 2, 2, 1], [1, 3, 3, 1]))
    upscale("--consistent", "--kernel", tmp_path / "psf.npy")
    (tmp_path / "psf.npy").unlink()
    assert replay([str(tmp_path / "run.json")]) == 0
    assert "the same bits" in capsys.readouterr().out


def test_what_differs_is_measured(upscale, tmp_path, capsys) -> None:
    record = upscale()
    path = tmp_path / "run.json"
    changed = np.asarray(Image.open(tmp_path / "out.png")).copy()
    changed[3, 4, 0] ^= 4
    Image.fromarray(changed).save(tmp_path / "out.png")
    record["images"][0]["output"] |= {"sha256": digest(tmp_path / "out.png"), "pixels_sha256": "0" * 64}
    record["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(record))
    assert replay([str(path)]) == 1
    said = capsys.readouterr()
    assert re.search(r"other pixels; 0\.001% of the samples differ, at most by 4\.00 gray levels", said.out)
    assert "not as recorded: torch" in said.err and "(recorded: 1.0)" in " ".join(said.err.split())
    (tmp_path / "out.png").unlink()
    assert replay([str(path)]) == 1
    assert "the recorded result is not there" in capsys.readouterr().out


def test_the_same_pixels_in_another_file_are_the_same(upscale, tmp_path, capsys) -> None:
    record = upscale()
    record["images"][0]["output"]["sha256"] = "0" * 64  # as if another zlib had written it
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert replay([str(tmp_path / "run.json")]) == 0
    assert "the same pixels, in a file of another encoder" in capsys.readouterr().out


def test_moved_inputs_are_found_by_their_content(upscale, photo, tmp_path, capsys) -> None:
    upscale()
    photo.rename(tmp_path / "moved.png")
    path = str(tmp_path / "run.json")
    with pytest.raises(UserError, match="the recorded input is not there: name it by --inputs"):
        replay([path])
    assert replay([path, "--inputs", str(tmp_path / "moved.png")]) == 0
    with pytest.raises(UserError, match="not an input of this record"):
        replay([path, "--inputs", str(tmp_path / "out.png")])


def test_other_inputs_and_weights_are_refused(upscale, photo, tmp_path) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "own.safetensors", create("awsrn-s", 2))
    upscale(weights=tmp_path / "own.safetensors")
    path = str(tmp_path / "run.json")
    with pytest.raises(UserError, match="not the weights of this record"):
        replay([path, "--weights", str(BUNDLED / f"{NAME}.safetensors")])
    save_weights(tmp_path / "own.safetensors", create("awsrn-s", 2))
    with pytest.raises(UserError, match="not the weights of this record"):
        replay([path])
    shutil.copy(tmp_path / "out.png", photo)
    upscale()
    shutil.copy(sample_folder() / "valid" / "camera.png", photo)
    with pytest.raises(UserError, match="not the input of this record, its SHA-256 is another"):
        replay([path])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not even JSON"),
        ("[]", "no record of an upscaling by this version"),
        ('{"format": "awsrn_fast upscale 1"}', "the record is not whole, it has no images"),
    ],
)
def test_what_is_no_record(tmp_path, text, said) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=said):
        replay([str(tmp_path / "run.json")])
    with pytest.raises(UserError, match="cannot read"):
        replay([str(tmp_path / "none.json")])


def test_records_that_cannot_be_written_are_refused_before_the_work(photo, tmp_path) -> None:
    def run(*options: object) -> None:
        main([str(photo), "-o", str(tmp_path / "out.png"), "--weights", NAME, *map(str, options)])

    with pytest.raises(UserError, match=r"a record is a \.json file"):
        run("--report", tmp_path / "run.txt")
    (tmp_path / "run.html").write_text("mine")
    with pytest.raises(UserError, match="give --overwrite to replace it, or choose another --report"):
        run("--report", tmp_path / "run.json")
    assert not (tmp_path / "out.png").exists()


def test_failures_are_on_record(photo, tmp_path) -> None:
    (tmp_path / "text.png").write_text("no image")
    arguments = [
        photo,
        tmp_path / "text.png",
        "-o",
        tmp_path / "out",
        "--weights",
        NAME,
        "--report",
        tmp_path / "r.json",
    ]
    assert main([*map(str, arguments), "--device", "cpu"]) == 1
    good, bad = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["images"]
    assert "output" in good and "text.png" in bad["failed"] and "output" not in bad


@pytest.mark.parametrize("name", ["awsrn-s-x4", NAME])
def test_the_commands_bits_do_not_depend_on_threads(photo, tmp_path, name) -> None:
    """The whole command, as users start it."""
    found = []
    for threads in ("1", "3"):
        out = tmp_path / f"{threads}.png"
        command = [sys.executable, "-m", "awsrn_fast.upscale", str(photo), "-o", str(out), "--weights", name]
        environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(Path(awsrn_fast.__file__).parents[1])}
        done = subprocess.run(
            [*command, "--consistent", "--tile", "48", "--device", "cpu"],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.append(digest(out))
    assert found[0] == found[1]


@pytest.mark.parametrize("stats", ["exact", "local"])
def test_tiles_change_a_level_in_a_thousand_samples_at_most(photo, tmp_path, stats) -> None:
    """They are the whole image's up to rounding in fp32: the record has the tile, so that a replay has the bits."""
    whole, *tiled = (
        _pixels(photo, tmp_path / f"{tile}.png", "--tile", str(tile), "--stats", stats) for tile in (0, 32, 48)
    )
    for pixels in tiled:
        assert np.abs(whole - pixels).max() <= 1 and (whole != pixels).mean() < 1e-3


def _pixels(photo: Path, out: Path, *options: str) -> np.ndarray:
    assert main([str(photo), "-o", str(out), "--weights", NAME, "--device", "cpu", *options]) == 0
    return np.asarray(Image.open(out)).astype(int)
