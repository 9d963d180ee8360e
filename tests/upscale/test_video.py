"""Films through the command: times, other streams, colours, damage, and runs that were killed."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from awsrn_fast.data import sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.video.kind import is_video

av = pytest.importorskip("av", reason="the extra video is not installed")
from awsrn_fast.video import upscaling  # noqa: E402
from awsrn_fast.video.colors import colors_of  # noqa: E402

SIZE = (32, 48)
BASE = Fraction(1, 12800)
TAGS = ("colorspace", "color_range", "color_primaries", "color_trc")


def times(count: int) -> list[int]:
    """Of a variable rate."""
    return [0, *np.random.default_rng(4).integers(300, 900, count - 1).cumsum().tolist()]


def film(
    path: Path,
    count: int = 12,
    format: str = "yuv420p",
    codec: str = "libx264",
    size=SIZE,
    turn: int = 0,
    sound: bool = True,
    still: bool = False,
    **options: str,
) -> Path:
    """A film of an embedded photograph that the camera pans over, or of every second frame the same."""
    whole = np.asarray(Image.open(sample_folder() / "train" / "raccoon.jpg"))
    with av.open(str(path), "w") as out:
        pictures = out.add_stream(codec, rate=25, options=options)
        pictures.height, pictures.width, pictures.pix_fmt = *size, format
        pictures.time_base = pictures.codec_context.time_base = BASE
        rgb = format == "bgr0"
        values = (0, 2, 1, 1) if rgb else (1, 1, 1, 1)
        for name, value in zip(TAGS, values, strict=True):
            setattr(pictures.codec_context, name, value)
        if turn:
            pictures.set_display_rotation(turn)
        tone = out.add_stream("aac", rate=48000) if sound else None
        for number, pts in enumerate(times(count)):
            left = 400 if still and number % 4 < 2 else 400 + 2 * number
            cut = np.ascontiguousarray(whole[300 : 300 + size[0], left : left + size[1]])
            frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
            frame = (
                frame.reformat(format=format)
                if rgb
                else frame.reformat(format=format, dst_colorspace=1, src_color_range=2, dst_color_range=1)
            )
            frame.pts, frame.time_base = pts, BASE
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        for number in range(20 if tone else 0):
            wave = (0.1 * np.sin(np.arange(1024) / 9)).astype(np.float32)[None].repeat(2, 0)
            heard = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            heard.sample_rate, heard.pts, heard.time_base = 48000, 1024 * number, Fraction(1, 48000)
            out.mux(tone.encode(heard))
        if tone:
            out.mux(tone.encode(None))
    return path


def shown(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times in seconds, and RGB frames as the film's tags mean them."""
    with av.open(str(path)) as found:
        stream = found.streams.video[0]
        frames = list(found.decode(stream))
        colors = colors_of(frames[0])
        return [frame.pts * stream.time_base for frame in frames], [colors.rgb(frame) for frame in frames]


def heard(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as found:
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found.demux(audio=0) if packet.size]


def tags(path: Path) -> tuple:
    with av.open(str(path)) as found:
        context = found.streams.video[0].codec_context
        return context.format.name, *(int(getattr(context, name)) for name in TAGS)


@pytest.mark.parametrize("format", ["yuv420p", "yuv420p10le"])
def test_times_sound_and_colours_are_kept(tmp_path, upscale, capsys, format):
    source = film(tmp_path / "a.mp4", format=format)
    assert upscale(source, "-o", tmp_path / "b.mp4", "--crf", 4) == 0
    before, small = shown(source)
    after, large = shown(tmp_path / "b.mp4")
    assert after == before and heard(tmp_path / "b.mp4") == heard(source) and tags(tmp_path / "b.mp4") == tags(source)
    assert large[0].shape == (64, 96, 3) and large[0].dtype == small[0].dtype
    top = np.iinfo(small[0].dtype).max
    for few, many in zip(small, large, strict=True):
        shrunk = many.reshape(32, 2, 48, 2, 3).astype(float).mean(axis=(1, 3))
        assert np.abs(shrunk - few).mean() < 0.02 * top
    said = capsys.readouterr().err
    assert "12 frames" in said and "frames/s" in said and not list(tmp_path.glob(".*"))


def test_equal_frames_give_equal_bits_and_flicker_is_said(tmp_path, upscale, capsys):
    source = film(tmp_path / "a.mkv", format="bgr0", codec="ffv1", sound=False, still=True)
    assert upscale(source, "-o", tmp_path / "b.mkv", "--encoder", "ffv1") == 0
    _, small = shown(source)
    _, large = shown(tmp_path / "b.mkv")
    same = [at for at in range(11) if (small[at] == small[at + 1]).all()]
    assert same and all((large[at] == large[at + 1]).all() for at in same)
    assert "gray levels" in capsys.readouterr().err and tags(tmp_path / "b.mkv")[0] == "bgr0"
    Image.fromarray(small[3]).save(tmp_path / "frame.png")
    assert upscale(tmp_path / "frame.png", "-o", tmp_path / "frame2.png") == 0
    np.testing.assert_array_equal(large[3], np.asarray(Image.open(tmp_path / "frame2.png")))  # no loss anywhere


def test_a_killed_run_goes_on(tmp_path, upscale, monkeypatch, capsys):
    monkeypatch.setattr(upscaling, "SEGMENT", 4)
    source = film(tmp_path / "a.mp4", count=14)
    assert upscale(source, "-o", tmp_path / "whole.mp4") == 0
    made, enlarged = [], upscaling._enlarged

    def killed(rgb: np.ndarray, enlarger: object) -> np.ndarray:
        made.append(rgb)
        if len(made) == 11:
            raise KeyboardInterrupt
        return enlarged(rgb, enlarger)

    monkeypatch.setattr(upscaling, "_enlarged", killed)
    with pytest.raises(KeyboardInterrupt):
        upscale(source, "-o", tmp_path / "parts.mp4")
    assert not (tmp_path / "parts.mp4").exists()
    made.clear()
    assert upscale(source, "-o", tmp_path / "parts.mp4") == 0
    assert len(made) == 6 and "8 were done before" in capsys.readouterr().err
    first, second = shown(tmp_path / "whole.mp4"), shown(tmp_path / "parts.mp4")
    assert first[0] == second[0] == shown(source)[0]
    np.testing.assert_array_equal(first[1], second[1])
    assert heard(tmp_path / "parts.mp4") == heard(source) and not list(tmp_path.glob(".*"))


def test_some_frames_keep_their_times(tmp_path, upscale):
    source = film(tmp_path / "a.mp4")
    assert upscale(source, "-o", tmp_path / "b.mp4", "--frames", "3:7") == 0
    assert shown(tmp_path / "b.mp4")[0] == shown(source)[0][3:7]
    assert 0 < len(heard(tmp_path / "b.mp4")) < len(heard(source))
    for wrong in ("3", "7:3", "-1:2"):
        with pytest.raises(UserError, match="--frames"):
            upscale(source, "-o", tmp_path / "c.mp4", f"--frames={wrong}")
    assert upscale(source, "-o", tmp_path / "c.mp4", "--frames", "99:") == 1


def test_turned_films_and_odd_sizes(tmp_path, upscale):
    source = film(tmp_path / "a.mp4", size=(22, 34), turn=90)
    assert upscale(source, "-o", tmp_path / "b.mp4", "--outscale", 1.5) == 0
    with av.open(str(tmp_path / "b.mp4")) as large:
        frame = next(large.decode(video=0))
        assert (frame.height, frame.width, frame.format.name, frame.rotation) == (33, 51, "yuv444p", 90)


def test_matroska_rounds_times_and_says_so(tmp_path, upscale, capsys):
    source = film(tmp_path / "a.mp4")
    assert upscale(source, "-o", tmp_path / "b.mkv") == 0
    said = capsys.readouterr().err
    assert "in steps of 1/1000 s" in said and "later: .mkv holds none before 0" in said
    shift = Fraction(1024, 48000)
    for before, after in zip(shown(source)[0], shown(tmp_path / "b.mkv")[0], strict=True):
        assert abs(after - before - shift) <= Fraction(1, 1000)


def test_damaged_frames_are_concealed_and_counted(tmp_path, upscale, capsys):
    source = film(tmp_path / "a.mkv", count=24, sound=False, g="100", bf="0")
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(1)
    for place in rng.integers(len(data) // 2, len(data) * 3 // 4, 40):
        data[place] = rng.integers(256)
    (tmp_path / "hurt.mkv").write_bytes(data)
    (tmp_path / "cut.mkv").write_bytes(source.read_bytes()[: len(data) * 2 // 3])
    assert upscale(tmp_path / "hurt.mkv", "-o", tmp_path / "b.mkv") == 0
    assert "damaged frames are concealed" in capsys.readouterr().err
    assert len(shown(tmp_path / "b.mkv")[0]) > 15
    assert upscale(tmp_path / "cut.mkv", "-o", tmp_path / "c.mkv") == 0
    assert 4 < len(shown(tmp_path / "c.mkv")[0]) < 24


def test_what_cannot_be_done_ends_in_one_sentence(tmp_path, upscale, capsys):
    source = film(tmp_path / "a.mp4")
    (tmp_path / "cut.mp4").write_bytes(source.read_bytes()[:900])
    small = film(tmp_path / "small.ts", sound=False).read_bytes()
    (tmp_path / "grows.ts").write_bytes(small + film(tmp_path / "x.ts", size=(64, 64), sound=False).read_bytes())
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        tone = out.add_stream("pcm_s16le", rate=8000)
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        wave.sample_rate = 8000
        out.mux(tone.encode(wave))
    found = {
        "cut.mp4": "damaged",
        "grows.ts": "the pictures change from 48x32 yuv420p to 64x64",
        "sound.mkv": "a film without pictures",
    }
    assert upscale(*(tmp_path / name for name in found), "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    for name, message in found.items():
        lines = [line for line in said if line.startswith("failed: ") and f"/{name}:" in line]
        assert len(lines) == 1 and message in lines[0], (name, said)
    assert upscale(source, "-o", tmp_path / "b.webm") == 1
    assert ".webm cannot hold stream 1 of the input (audio)" in capsys.readouterr().err
    assert upscale(source, "-o", tmp_path / "b.mp4", "--encoder", "none") == 1
    assert upscale(source, "-o", tmp_path / "b.mp4", "--pixel-format", "none") == 1
    assert upscale(source, "-o", tmp_path / "b.mkv", "--encoder", "ffv1", "--crf", 3) == 1
    said = capsys.readouterr().err
    assert "no such encoder" in said and "libx264 takes yuv420p" in said and "ffv1 has no such quality" in said
    assert upscale(source, "-o", tmp_path / "b.mp4", "--max-pixels", 100) == 1


def test_films_are_recognised_by_their_contents(tmp_path, upscale, monkeypatch, capsys):
    made = {suffix: film(tmp_path / f"a{suffix}", count=2, sound=False) for suffix in (".mp4", ".mkv", ".ts", ".avi")}
    assert all(map(is_video, made.values()))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert not is_video(tmp_path / "a.png")
    renamed = made[".mp4"].rename(tmp_path / "no suffix")
    assert upscale(renamed) == 0 and is_video(tmp_path / "no suffix_x2.mkv")
    monkeypatch.setitem(sys.modules, "av", None)
    assert upscale(made[".mkv"], "-o", tmp_path / "b.mkv") == 1
    assert "pip install '.[video]'" in capsys.readouterr().err
