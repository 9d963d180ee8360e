"""Folders, pipes and shards of them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import awsrn_fast
from awsrn_fast.backends import BackendError
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.upscale.plan import Job, plan
from awsrn_fast.upscale.progress import Report
from awsrn_fast.upscale.shard import Shard, pick_shard

ROOT = Path(awsrn_fast.__file__).parents[1]


def image(path: Path, size: tuple[int, int] = (5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)).save(path)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_resume_does_what_is_left_and_nothing_twice(tmp_path, upscale, capsys):
    for name in ("a.png", "b.png", "sub/c.png"):
        image(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.png").write_bytes(b"done before")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--resume") == 0
    assert files_in(tmp_path / "out") == ["a.png", "b.png", "sub/c.png"]
    assert (tmp_path / "out/b.png").read_bytes() == b"done before"
    assert "2 of 2 images upscaled x2" in (said := capsys.readouterr().err) and "; 1 were there before" in said
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--resume") == 0
    assert "0 of 0 images" in (said := capsys.readouterr().err) and "; 3 were there before" in said


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_every_image_once(tmp_path, count):
    for index in range(5):
        image(tmp_path / f"in/{index % 2}/{index}.png")
    everything = plan([tmp_path / "in"], tmp_path / "out", None, False)
    parts = [plan([tmp_path / "in"], tmp_path / "out", None, False, Shard(i + 1, count).part) for i in range(count)]
    found = [job for part in parts for job in part]
    assert len(found) == len(set(found)) == 5 and set(found) == set(everything)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_leaves_the_others_alone(tmp_path, upscale, capsys):
    for name in "abcd":
        image(tmp_path / f"in/{name}.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"the other's")  # 1/2 does a and c: this run must not mind
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--shard", "2/2") == 0
    assert files_in(tmp_path / "out") == ["a.png", "b.png", "d.png"]
    assert "2 of 2 images upscaled x2" in (said := capsys.readouterr().err) and "(part 2/2)" in said


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_shard_of_another_form_is_wrong_usage(text):
    with pytest.raises(UserError, match="--shard .*: give i/n with i from 1 to n"):
        pick_shard(text)


def test_torchrun_gives_the_shard(monkeypatch):
    assert pick_shard(None) == Shard(1, 1) and pick_shard("2/3") == Shard(2, 3)
    launcher = {"TORCHELASTIC_RUN_ID": "x", "RANK": "2", "WORLD_SIZE": "4"}
    launcher |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    assert pick_shard(None) == Shard(3, 4)
    with pytest.raises(UserError, match="torchrun's processes share the images by themselves"):
        pick_shard("1/2")


@pytest.mark.slow
def test_torchrun_shares_a_folder_and_waits_for_all(tmp_path):
    """The first process has only a bad file, so that it ends long before the other, which must not be ended for it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"no image")
    image(tmp_path / "in/b.png", (90, 80))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*command, "awsrn_fast.upscale", "in", "-o", "out", "--device", "cpu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1 and files_in(tmp_path / "out") == ["b.png"], done.stderr
    assert "(part 1/2)" in done.stderr and "(part 2/2)" in done.stderr and "interrupted" not in done.stderr


@pytest.fixture
def pipe(tmp_path, upscale, monkeypatch) -> Callable[..., tuple[int, bytes]]:
    """Run the command with ``data`` as standard input; status and standard output."""

    def run(data: bytes, *arguments: str) -> tuple[int, bytes]:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        with open(tmp_path / "sent", "w") as out:
            monkeypatch.setattr("sys.stdout", out)
            status = upscale("-", "-o", "-", *arguments)
        return status, (tmp_path / "sent").read_bytes()

    return run


@pytest.mark.parametrize("format", ["TIFF", "PNG", "JPEG", "WEBP", "BMP"])
def test_standard_input_to_standard_output(pipe, format):
    data = io.BytesIO()
    Image.new("RGB", (6, 5), (99, 98, 97)).save(data, format)
    for options, expected in (((), format), (("--format", "tiff"), "TIFF")):
        status, sent = pipe(data.getvalue(), *options)
        with Image.open(io.BytesIO(sent)) as found:
            assert (status, found.format, found.mode, found.size) == (0, expected, "RGB", (12, 10))


def test_nothing_is_sent_for_what_is_no_image(pipe, capsys):
    assert pipe(b"no image") == (1, b"") and pipe(b"", "--format", "png") == (1, b"")
    said = capsys.readouterr().err
    assert "not an image of a known format" in said and "the file is empty" in said


def test_standard_output_that_is_full_is_said(tmp_path, upscale, monkeypatch):
    image(tmp_path / "a.png")
    with open("/dev/full", "w") as full, pytest.raises(RunError, match="standard output: No space left on device"):
        monkeypatch.setattr("sys.stdout", full)
        upscale(tmp_path / "a.png", "-o", "-")


def test_wrong_use_of_pipes(tmp_path, upscale, monkeypatch):
    image(tmp_path / "in/a.png")
    a = tmp_path / "in/a.png"
    for arguments, message in (
        ([a, "-", "-o", tmp_path / "out"], "give no other input beside it"),
        ([a, a, "-o", "-"], "takes one image"),
        ([tmp_path / "in", "-o", "-"], "takes one image"),
    ):
        with pytest.raises(UserError, match=message):
            upscale(*arguments)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(UserError, match="would write an image to the terminal"):
        upscale(a, "-o", "-")


def test_a_backend_that_cannot_run_is_wrong_usage(tmp_path, upscale, bicubic, monkeypatch):
    def refuse(self, x):
        raise BackendError("awms: backend 'cuda' was asked for and cannot run")

    image(tmp_path / "a.png")
    assert upscale(tmp_path / "a.png", "-o", tmp_path / "b.png", "--backend", "reference") == 0
    monkeypatch.setattr(bicubic, "forward", refuse)
    with pytest.raises(UserError, match="--backend cuda: awms: backend 'cuda' was asked for and cannot run"):
        upscale(tmp_path / "a.png", "-o", tmp_path / "c.png", "--backend", "cuda")


def test_a_line_for_each_image_has_size_speed_and_time_left(tmp_path, upscale, capsys):
    for name in "ab":
        image(tmp_path / f"in/{name}.png", (7, 5))
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 0
    first, second, _ = capsys.readouterr().err.splitlines()
    speed = r"7x5 to 14x10, \d+\.\d s, \d+\.\d\d MP/s"
    assert re.search(rf"^\[1/2\] .*a\.png -> .*a\.png: {speed}, 0:00:00 left$", first)
    assert re.search(rf"^\[2/2\] .*b\.png -> .*b\.png: {speed}$", second)


def test_a_log_hears_of_a_large_image_every_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    console = Console(file=sys.stderr, soft_wrap=True)
    with Report(console, [4000, 1000], 2) as report:
        report.begin(Job(Path("a.png"), Path("b.png")))
        for _ in range(10):
            now[0] += 40
            report.advance(100)
        now[0] += 3600
        report.done(Job(Path("a.png"), Path("b.png")), (50, 80), (100, 160), ())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 + 1 and lines[0] == "4% of all pixels, 0.00 MP/s, 0:32:00 left"
    assert lines[-1].endswith("4000.0 s, 0.00 MP/s, 0:16:40 left")


def test_depth_of_tiff_stays(tmp_path, upscale):
    tifffile = pytest.importorskip("tifffile")
    ramp = np.linspace(20000, 20200, 8 * 64 * 4).astype(np.uint16).reshape(8, 64, 4)
    tifffile.imwrite(tmp_path / "a.tif", ramp, photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16))
    assert upscale(tmp_path / "a.tif", "-o", tmp_path / "b.tif") == 0
    large = tifffile.imread(tmp_path / "b.tif")
    assert large.shape == (16, 128, 4) and large.dtype == np.uint16
    assert len(np.unique(large)) > 190 and large.min() > 19990 and large.max() < 20210
