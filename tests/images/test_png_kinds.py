"""Every kind of PNG against the same picture as plain gray, RGB or RGBA; damage beside the pixels."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import product

import numpy as np
import pytest
from handmade import chunk, png_bytes
from PIL import Image, PngImagePlugin

from awsrn_fast import images
from awsrn_fast.errors import RunError

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
PLANES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
KINDS = [(kind, depth) for kind in PLANES for depth in DEPTHS[kind]]


def numbers_of(picture: images.Picture) -> np.ndarray:
    return picture.samples.from_unit(picture.rows(0, picture.size[0]))


@pytest.mark.parametrize(("kind", "depth"), KINDS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_kind_is_the_plain_picture(tmp_path, kind, depth, interlaced):
    """With sBIT (fewer bits than there are) and with a transparent colour or alpha of palette entries."""
    rng, top = np.random.default_rng(depth), 2**depth - 1
    colors = rng.integers(0, 256, (top + 1 if kind == PALETTE else 1, 3)).astype(np.uint8)
    for height, width in ((11, 13), (1, 1), (3, 2)):
        array = rng.integers(0, top + 1, (height, width, PLANES[kind]))
        for sbit, clear in product((False, True), (False, True)):
            extra = [chunk(b"PLTE", colors.tobytes())] if kind == PALETTE else []
            if sbit:
                bits = [max(1, min(depth, 8) // 2)] * (3 if kind == PALETTE else PLANES[kind])
                extra.insert(0, chunk(b"sBIT", bytes(bits)))
            whole = (array if depth == 16 else array * (255 // top)).astype(np.uint16 if depth == 16 else np.uint8)
            expected, most = whole, 65535 if depth == 16 else 255
            if kind == PALETTE:
                expected = colors[array[..., 0]]
            if clear and kind in (GRAY, RGB):
                value = array[height // 2, width // 2]
                extra.append(chunk(b"tRNS", b"".join(struct.pack(">H", int(v)) for v in value)))
                alpha = most * (array != value).any(-1, keepdims=True)
                expected = np.concatenate((whole, alpha.astype(whole.dtype)), -1)
            elif clear and kind == PALETTE:
                entries = rng.integers(0, 256, top + 1).astype(np.uint8)
                entries[top // 2 + 1 :] = 255  # fewer entries than colours
                extra.append(chunk(b"tRNS", entries[: top // 2 + 1].tobytes()))
                expected = np.concatenate((expected, entries[array]), -1)
            elif clear:
                continue
            (tmp_path / "in.png").write_bytes(png_bytes(array, depth, kind, interlaced, *extra))
            picture = images.read(tmp_path / "in.png")
            assert picture.depth == (16 if depth == 16 else 8)
            np.testing.assert_array_equal(numbers_of(picture), expected)
            assert any("sBIT" in note for note in picture.notes) == sbit


def test_decoders_agree_on_what_the_tests_write(tmp_path, ramp):
    """Pillow, which is independent of the reader for the container."""
    for depth, interlaced in product((1, 2, 4, 8), (False, True)):
        data = png_bytes(ramp[..., None] >> (8 - depth), depth, GRAY, interlaced)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(
                np.asarray(image.convert("L")), (ramp >> (8 - depth)) * (255 // (2**depth - 1))
            )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zTXt", b"workflow\0\0" + zlib.compress(b"{} " * 600_000)),
        ("iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 1_600_000)),
        ("iTXt", b"note\0\0\0\0\0" + b"x" * 1_600_000),
        ("tEXt", b"note\0" + b"x" * 1_600_000),
        ("iCCP", b"printer\0\0" + zlib.compress(bytes(16) + b"RGB " + bytes(2_000_000))),
        ("eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(1_500_000)),
    ],
    ids=["zTXt", "XMP", "iTXt", "tEXt", "iCCP", "eXIf"],
)
def test_large_texts_and_profiles_do_no_harm(tmp_path, ramp, name, data):
    (tmp_path / "in.png").write_bytes(
        png_bytes(ramp[..., None].repeat(3, 2), 8, RGB, False, chunk(name.encode(), data))
    )
    picture = images.read(tmp_path / "in.png")
    np.testing.assert_array_equal(numbers_of(picture)[..., 0], ramp)
    images.write(tmp_path / "out.png", picture)
    if name != "eXIf":
        assert name.encode() in (tmp_path / "out.png").read_bytes()


def test_what_unpacks_to_too_much_is_left_out(tmp_path, ramp):
    bomb = zlib.compress(bytes(2**26 + 1))
    extra = chunk(b"iCCP", b"x\0\0" + bomb), chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, GRAY, False, *extra))
    picture = images.read(tmp_path / "in.png")
    assert [note.split(" is damaged")[0] for note in picture.notes] == ["iCCP", "iTXt"] and picture.icc is None


@pytest.mark.parametrize("name", [b"tEXt", b"iCCP", b"gAMA", b"pHYs", b"eXIf", b"tRNS", b"sBIT", b"zzZz"])
def test_wrong_checksum_or_content_of_an_ancillary_chunk(tmp_path, ramp, name):
    for extra in (chunk(name, b"Title\0picture", wrong=1), chunk(name, b"")):
        (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, GRAY, False, extra))
        picture = images.read(tmp_path / "in.png")
        np.testing.assert_array_equal(numbers_of(picture)[..., 0], ramp)
    assert picture.alpha is None


def test_wrong_checksum_of_a_critical_chunk_and_unknown_ones_are_refused(tmp_path, ramp):
    for extra, message in (
        (chunk(b"PLTE", bytes(9), wrong=1), "wrong checksum of PLTE"),
        (chunk(b"CgBI", b""), "critical chunk CgBI"),
    ):
        (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, PALETTE, False, extra))
        with pytest.raises(RunError, match=rf"in\.png: damaged or not supported \(.*{message}"):
            images.read(tmp_path / "in.png")


COLORS = {
    "gAMA": struct.pack(">I", 100000),
    "cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    "cICP": bytes([9, 16, 0, 1]),
    "mDCV": bytes(24),
    "cLLI": bytes(8),
    "sRGB": b"\0",
    "tEXt": b"Title\0picture",
    "zTXt": b"Title\0\0" + zlib.compress(b"picture"),
    "iTXt": b"Title\0\0\0de\0Titel\0Bild",
    "prIv": b"private, safe to copy: no",
    "prIp": b"private, safe to copy: no",
    "prip": b"private, safe to copy: yes",
}


def chunks_in(path) -> dict[str, bytes]:
    data, at, found = path.read_bytes(), 8, {}
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        found[name.decode()] = data[at + 8 : at + 8 + length]
        at += 12 + length
    return found


@pytest.mark.parametrize("name", COLORS)
@pytest.mark.parametrize("kind", [GRAY, PALETTE])
def test_chunks_are_kept_as_they_are_or_said(tmp_path, ramp, name, kind):
    extra = [chunk(name.encode(), COLORS[name]), chunk(b"PLTE", bytes(range(96)) * 8)][: 1 + (kind == PALETTE)]
    (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, kind, False, *extra))
    picture = images.read(tmp_path / "in.png")
    images.write(tmp_path / "out.png", picture)
    kept = chunks_in(tmp_path / "out.png").get(name) == COLORS[name]
    safe = name[3].islower() or name in ("gAMA", "cHRM", "cICP", "mDCV", "cLLI", "sRGB")
    assert kept == safe and (f"{name} left out" in picture.notes) == (not safe)
    with Image.open(tmp_path / "out.png") as image:
        image.load()


@pytest.mark.parametrize("name", ["bKGD", "hIST", "sPLT", "tIME", "sCAL", "pCAL", "oFFs", "caBX"])
def test_chunks_of_the_old_pixels_are_left_out_and_named(tmp_path, ramp, name):
    (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, GRAY, False, chunk(name.encode(), bytes(9))))
    assert images.read(tmp_path / "in.png").notes == (f"{name} left out",)


@pytest.mark.parametrize("form", ["exif", "APP1"])
def test_exif_as_a_text_of_other_programs(tmp_path, ramp, form):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {form}", f"\n{form}\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n", zip=True)
    Image.fromarray(ramp).save(tmp_path / "in.png", pnginfo=info)
    picture = images.read(tmp_path / "in.png")
    assert picture.size == (32, 24) and picture.exif[0x010F] == "Maker" and not picture.extras.chunks


def test_damaged_exif_of_a_png_is_said(tmp_path, ramp):
    (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, GRAY, False, chunk(b"eXIf", b"no EXIF at all")))
    picture = images.read(tmp_path / "in.png")
    assert "EXIF is damaged and left out" in picture.notes[0] and picture.size == (24, 32)


def test_what_follows_the_image_is_said(tmp_path, ramp):
    (tmp_path / "in.png").write_bytes(png_bytes(ramp[..., None], 8, GRAY) + b"PK an archive")
    assert images.read(tmp_path / "in.png").notes == ("what follows the image in the file is left out",)
