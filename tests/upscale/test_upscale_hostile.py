"""Input and surroundings that mean harm: each costs one line and one image, never another file."""

from __future__ import annotations

import os
import resource
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import awsrn_fast
from awsrn_fast.errors import UserError
from awsrn_fast.models import create
from awsrn_fast.upscale.command import main

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's file systems and limits")


def image(path: Path, size: tuple[int, int] = (5, 4), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = len(mode)
    array = np.random.default_rng(0).integers(0, 256, (*size[::-1], planes)).astype(np.uint8)
    Image.fromarray(array[..., 0] if planes == 1 else array).save(path)
    return path


def names_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def tiff_of(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, max(height, 1)), (279, 4, 1, 4)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4)


def animation(format: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
        frames[0].save(path, format, save_all=True, append_images=frames[1:])
        return path.read_bytes()


HOSTILE = {
    "empty": (b"", "the file is empty"),
    "cut": (png(40, 40, bytes(121 * 40))[:-40], "damaged or not supported"),
    "few": (png(40, 40, bytes(121 * 20)), "damaged or not supported"),
    "none": (png(0, 5, b""), "no pixels"),
    "bomb": (png(100_000, 100_000, bytes(10**6)), "100000x100000 is more than 1000000000 pixels"),
    "wide": (png(2**31 - 1, 2**31 - 1, b"\0"), "more than 1000000000 pixels"),
    "tiff": (tiff_of(2**31, 2**31), "more than 1000000000 pixels|damaged"),
    "thin": (tiff_of(10, 0), "no pixels|damaged"),
    "text": (b"<html>404</html>", "not an image of a known format"),
    "animated": (animation("PNG"), "2 animated frames"),
    "webp": (animation("WEBP"), "2 animated frames"),
    "pages": (animation("TIFF"), "2 pages"),
    "gif": (animation("GIF"), "GIF, which is not read here"),
}


def test_each_costs_one_line_and_the_others_are_done(tmp_path, upscale, capsys):
    for name, (content, _) in HOSTILE.items():
        (tmp_path / "in" / f"{name}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.png").write_bytes(content)
    image(tmp_path / "in/good.png")
    Image.new("RGB", (3, 3), "red").save(tmp_path / "in/jpeg inside.png", "JPEG")
    before = {p: p.read_bytes() for p in (tmp_path / "in").iterdir()}
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert names_in(tmp_path / "out") == {"good.png", "jpeg inside.png"}
    assert before == {p: p.read_bytes() for p in (tmp_path / "in").iterdir()}
    failures = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert len(failures) == len(HOSTILE)
    for name, (_, message) in HOSTILE.items():
        line = next(line for line in failures if f"/{name}.png: " in line)
        assert any(part in line for part in message.split("|")), line


def test_values_that_are_no_numbers(tmp_path, upscale, capsys):
    tifffile = pytest.importorskip("tifffile")
    array = np.linspace(-5, 5, 20, dtype=np.float32).reshape(4, 5)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/good.tif", array)
    tifffile.imwrite(tmp_path / "in/bad.tif", np.full_like(array, np.nan))
    holes = np.tile(array, (4, 4))
    holes[4:8, 6:12] = np.nan
    holes[0, 0] = np.inf
    tifffile.imwrite(tmp_path / "in/holes.tif", holes)
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "bad.tif: all values are NaN, infinite or marked as no data" in said
    assert "values that mean no data or are not finite are filled from around, and left out again" in said
    gone = np.isnan(tifffile.imread(tmp_path / "out/holes.tif"))
    np.testing.assert_array_equal(gone, ~np.isfinite(holes).repeat(2, 0).repeat(2, 1))
    large = tifffile.imread(tmp_path / "out/good.tif")
    assert large.shape == (8, 10) and large.dtype == np.float32 and -5 <= large.min() < -4 and 4 < large.max() <= 5


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, and a user for whom permissions count even where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        folder.chmod(0o777)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_what_may_not_be_read_is_a_failure_of_its_own(nobody, upscale, capsys):
    image(nobody / "in/good.png")
    image(nobody / "in/file.png").chmod(0)
    image(nobody / "in/closed/inside.png").parent.chmod(0)
    assert upscale(nobody / "in", "-o", nobody / "out") == 1
    assert names_in(nobody / "out") == {"good.png"}
    said = capsys.readouterr().err
    assert "in/file.png: Permission denied" in said
    assert "in/closed: cannot look into the folder: Permission denied" in said and "1 of 3 images" in said
    (nobody / "in/closed").chmod(0o700)


def test_what_may_not_be_written_is_found_before_any_work(nobody, upscale):
    image(nobody / "in/a.png")
    (nobody / "out").mkdir(mode=0o555)
    with pytest.raises(UserError, match="no permission for .*out"):
        upscale(nobody / "in", "-o", nobody / "out")


def test_links_in_a_circle(tmp_path, upscale, capsys):
    image(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").symlink_to("b.png")
    (tmp_path / "in/c.png").symlink_to("d.png")
    (tmp_path / "in/d.png").symlink_to("c.png")
    (tmp_path / "in/folder").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone.png").symlink_to("nowhere.png")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert names_in(tmp_path / "out") == {"a.png"}
    said = capsys.readouterr().err
    assert said.count("Too many levels of symbolic links") == 6 and "gone.png: No such file" in said  # a line and a sum
    with pytest.raises(UserError, match="no such file or folder"):
        upscale(tmp_path / "in/b.png", "-o", tmp_path / "x.png")


def test_a_pipe_with_a_name_is_not_waited_for(tmp_path, upscale, capsys):
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in/a.png")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert "a.png: a device, pipe or socket, not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["日本語 é ß.png", "🙂" * 60 + ".png", "a" * 251 + ".png", "[bold]x[/].png", "-o.png", "a\u202eb.png"]
)
def test_names_of_every_kind(tmp_path, upscale, name):
    image(tmp_path / "in" / name)
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert names_in(tmp_path / "out") == {name}


def test_names_that_are_no_text_or_break_the_line(tmp_path, upscale, capsys):
    image(tmp_path / "in/a\n\x1b[31mb.png")
    image(tmp_path / "in/x.png").rename(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff\xfe.png"))
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert len(names_in(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 3 and "\x1b[31m" not in said and r"a\n\x1b[31mb.png" in said


def test_paths_that_are_too_long(tmp_path, upscale, capsys, monkeypatch):
    deep = Path(*["d" * 200] * 19)  # below "in" within Linux's 4,096 bytes, below the longer output not
    monkeypatch.chdir(tmp_path)
    image(Path("in/good.png"))
    image(Path("in") / deep / "a.png")
    assert upscale("in", "-o", Path("out") / ("o" * 200) / ("p" * 200)) == 1
    assert names_in(tmp_path / "out") == {f"{'o' * 200}/{'p' * 200}/good.png"}
    assert "File name too long" in capsys.readouterr().err
    for name in ("x" * 300 + ".png", "y/" * 3000 + "a.png"):
        with pytest.raises(UserError, match="no such file or folder"):
            upscale(name, "-o", tmp_path / "x.png")
    assert upscale("in/good.png", "-o", "z" * 300 + ".png") == 1
    assert "File name too long" in capsys.readouterr().err


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file of more than ``room`` bytes; the write that goes beyond fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, upscale, capsys, suffix):
    image(tmp_path / f"in/a{suffix}", (60, 60))
    image(tmp_path / f"in/b{suffix}", (2, 2))
    (tmp_path / "out").mkdir()
    (tmp_path / f"out/a{suffix}").write_bytes(b"from before")
    with full_disk(3000):
        assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--overwrite") == 1
    assert names_in(tmp_path / "out") == {f"a{suffix}", f"b{suffix}"}  # and nothing half-written
    assert (tmp_path / f"out/a{suffix}").read_bytes() == b"from before"
    assert f"cannot write {tmp_path}/out/a{suffix}: File too large" in capsys.readouterr().err


def test_an_input_that_vanishes_or_changes_meanwhile(tmp_path, upscale, monkeypatch, capsys):
    for name in "abc":
        image(tmp_path / f"in/{name}.png")

    def meddle(path, header):  # while the first image is at work
        (tmp_path / "in/b.png").unlink(missing_ok=True)
        (tmp_path / "in/c.png").write_bytes(b"overwritten")

    monkeypatch.setattr(awsrn_fast.images, "check_writable", meddle)
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert names_in(tmp_path / "out") == {"a.png"}
    said = capsys.readouterr().err
    assert "b.png: No such file" in said and "c.png: not an image of a known format" in said


@pytest.mark.parametrize(
    ("suffix", "size", "message"),
    [(".jpg", (32751, 1), "JPEG holds (65500 a side); write PNG"), (".webp", (8192, 1), "WEBP holds (16383 a side)")],
)
def test_limits_of_the_format_are_found_before_the_network_runs(
    tmp_path, upscale, bicubic, monkeypatch, capsys, suffix, size, message
):
    image(tmp_path / "a.png", size)
    monkeypatch.setattr(bicubic, "forward", lambda self, x: pytest.fail("the network ran"))
    assert upscale(tmp_path / "a.png", "-o", tmp_path / f"out{suffix}") == 1
    assert message in capsys.readouterr().err and names_in(tmp_path) == {"a.png"}


@pytest.fixture(scope="module")
def networks() -> dict[int, object]:
    return {scale: create("improved-s", scale).eval() for scale in (2, 3, 4, 8)}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@settings(max_examples=7, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_size(networks, scale, data):
    """Long sides are tried with short ones, so that the area stays that of a small picture."""
    longer = data.draw(st.integers(1, 300), "longer")
    shorter = data.draw(st.integers(1, max(1, min(longer, 6000 // longer))), "shorter")
    width, height = data.draw(st.permutations([longer, shorter]), "width, height")
    mode = data.draw(st.sampled_from(["L", "LA", "RGB", "RGBA"]), "mode")
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(awsrn_fast, "load", lambda weights: networks[scale])
        source, target = image(Path(name) / "a.png", (width, height), mode), Path(name) / "b.png"
        assert main([str(source), "-o", str(target), "--device", "cpu", "--tile", "64"]) == 0
        with Image.open(target) as large:
            assert large.size == (scale * width, scale * height) and large.mode == mode
