from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import png
import pytest
from PIL import Image, ImageCms, ImageOps

from awsrn_fast import images
from awsrn_fast.errors import RunError


def samples(height: int, width: int, planes: int, depth: int = 8) -> np.ndarray:
    rng = np.random.default_rng(height * width + planes)
    return rng.integers(0, 2**depth, (height, width, planes)).astype(np.uint16 if depth == 16 else np.uint8)


def save(path, array: np.ndarray, **options) -> None:
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path, **options)


@cache
def profile(space: str = "sRGB") -> bytes:
    """One for all: it holds the second in which it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def decode_png(path) -> np.ndarray:
    """Samples as pypng, an independent decoder, reads them."""
    width, height, rows, info = png.Reader(filename=str(path)).asDirect()
    return np.array([list(row) for row in rows]).reshape(height, width, info["planes"])


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_lossless_eight_bit_round_trip(tmp_path, suffix, planes):
    array = samples(5, 7, planes)
    save(tmp_path / "in.png", array)
    picture = images.read(tmp_path / "in.png")
    assert (picture.gray, picture.depth, picture.size) == (planes < 3, 8, (5, 7))
    assert picture.color.dtype == np.float32 and (picture.alpha is not None) == (planes in (2, 4))
    images.write(tmp_path / f"out{suffix}", picture, quality=100)
    again = images.read(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(again.color, np.broadcast_to(picture.color, again.color.shape))
    if picture.alpha is not None:
        np.testing.assert_array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
def test_sixteen_bit_png_keeps_every_level(tmp_path, planes, interlace):
    array = samples(6, 5, planes, depth=16)
    writer = png.Writer(5, 6, greyscale=planes < 3, alpha=planes in (2, 4), bitdepth=16, interlace=interlace)
    with open(tmp_path / "in.png", "wb") as file:
        writer.write_array(file, array.reshape(-1).tolist())
    picture = images.read(tmp_path / "in.png")
    assert picture.depth == 16
    images.write(tmp_path / "out.png", picture)
    np.testing.assert_array_equal(decode_png(tmp_path / "out.png"), array)


def test_sixteen_bit_gray_tiff_round_trip(tmp_path):
    array = samples(4, 9, 1, depth=16)
    save(tmp_path / "in.tif", array)
    images.write(tmp_path / "out.tif", images.read(tmp_path / "in.tif"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.tif")), array[..., 0])


def tiff(path, array: np.ndarray, photometric: int, sample_format: int = 1) -> None:
    """A minimal uncompressed little-endian TIFF, of kinds that Pillow does not write."""
    height, width, planes = array.shape
    bits = array.dtype.itemsize * 8
    data_at = 8 + 2 + 12 * 10 + 4
    extra = struct.pack(f"<{planes}H", *[bits] * planes)
    bits_entry = (258, 3, planes, data_at) if planes > 2 else (258, 3, 1, bits)
    pixels_at = data_at + len(extra)
    entries = [(256, 4, 1, width), (257, 4, 1, height), bits_entry, (259, 3, 1, 1), (262, 3, 1, photometric)]
    entries += [(273, 4, 1, pixels_at), (277, 3, 1, planes), (278, 4, 1, height), (279, 4, 1, array.nbytes)]
    entries += [(339, 3, 1, sample_format)]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path.write_bytes(head + struct.pack("<I", 0) + extra + array.tobytes())


def test_sixteen_bit_tiff_with_white_as_zero_is_inverted(tmp_path):
    array = samples(3, 3, 1, depth=16)
    tiff(tmp_path / "in.tif", array, photometric=0)
    picture = images.read(tmp_path / "in.tif")
    assert picture.notes == ("white as 0 turned into black as 0",)
    np.testing.assert_array_equal(picture.samples.from_unit(picture.color), 65535 - array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, orientation):
    array = samples(3, 5, 3)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    save(tmp_path / "in.png", array, exif=exif)
    with Image.open(tmp_path / "in.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = images.read(tmp_path / "in.png")
    np.testing.assert_array_equal(np.rint(picture.color * 255), expected)
    images.write(tmp_path / "out.png", picture)
    with Image.open(tmp_path / "out.png") as image:
        assert image.getexif()[0x0112] == 1 and image.getexif()[0x010F] == "Maker"
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_orientation_of_tiff_is_applied_once(tmp_path):
    array = samples(3, 5, 3)
    save(tmp_path / "in.tif", array, tiffinfo={274: 6})
    np.testing.assert_array_equal(np.rint(images.read(tmp_path / "in.tif").color * 255), np.rot90(array, -1))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_exif_and_profile_are_kept_with_the_new_size(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x8769] = {0xA002: 5, 0xA003: 3, 0x829A: 0.5, 0x927C: b"maker's own offsets"}
    save(tmp_path / "in.jpg", samples(3, 5, 3), exif=exif, icc_profile=profile())
    picture = images.read(tmp_path / "in.jpg")
    larger = images.Picture(np.zeros((6, 10, 3), np.float32), icc=picture.icc, exif=picture.exif)
    images.write(tmp_path / f"out{suffix}", larger)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == profile()
        details = image.getexif().get_ifd(0x8769)
        assert (details[0xA002], details[0xA003], float(details[0x829A])) == (10, 6, 0.5)
        assert 0x927C not in details


def test_sixteen_bit_png_keeps_profile_and_exif(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture = images.Picture(np.zeros((2, 2, 3), np.float32), samples=images.WORDS, icc=profile(), exif=exif)
    images.write(tmp_path / "out.png", picture)
    with Image.open(tmp_path / "out.png") as image:
        image.load()
        assert image.info["icc_profile"] == profile() and image.getexif()[0x010F] == "Maker"


def test_profile_of_another_colour_space_is_left_out_with_a_note(tmp_path):
    save(tmp_path / "in.png", samples(2, 2, 1), icc_profile=profile())
    picture = images.read(tmp_path / "in.png")
    assert picture.icc is None and "colour profile (RGB)" in picture.notes[0]


def test_palette_is_converted_with_a_note(tmp_path):
    image = Image.fromarray(samples(4, 4, 3)).quantize(8)
    image.save(tmp_path / "in.png", transparency=0)
    picture = images.read(tmp_path / "in.png")
    assert picture.notes == ("palette converted to RGBA",)
    expected = np.asarray(Image.open(tmp_path / "in.png").convert("RGBA"))
    np.testing.assert_array_equal(np.rint(picture.color * 255), expected[..., :3])
    np.testing.assert_array_equal(np.rint(picture.alpha * 255), expected[..., 3])


def test_one_bit_is_converted_with_a_note(tmp_path):
    Image.fromarray(samples(4, 4, 1)[..., 0] > 127).save(tmp_path / "in.png")
    picture = images.read(tmp_path / "in.png")
    assert picture.gray and picture.notes == ("1 bit converted to L",) and set(np.unique(picture.color)) == {0, 1}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transparent_colour_becomes_alpha(tmp_path, mode):
    image = Image.new(mode, (2, 1), 7 if mode == "L" else (7, 7, 7))
    image.putpixel((0, 0), 9 if mode == "L" else (9, 9, 9))
    image.save(tmp_path / "in.png", transparency=9 if mode == "L" else (9, 9, 9))
    picture = images.read(tmp_path / "in.png")
    assert picture.gray == (mode == "L")
    np.testing.assert_array_equal(picture.alpha, [[0, 1]])


def test_cmyk_is_converted_with_a_note(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "in.tif")
    picture = images.read(tmp_path / "in.tif")
    assert picture.format == "TIFF"
    assert picture.notes == ("CMYK without a profile converted to RGB by plain arithmetic",)
    np.testing.assert_array_equal(picture.color[0, 0], [1, 0, 0])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(RunError, match=r"in\S+: 2 (animated frames|pages); only single images"):
        images.read(tmp_path / f"in{suffix}")


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def encoded(format: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples(40, 40, 3)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"just text", "not an image of a known format"),
        (encoded("GIF"), "GIF, which is not read here; save it as one of PNG"),
        (encoded("PNG")[:2000], "damaged or not supported"),
        (encoded("JPEG")[:1000], "damaged or not supported"),
        (encoded("WEBP")[:1000], "damaged or not supported"),
        (encoded("TIFF")[:1000], "damaged or not supported|not an image"),
        (encoded("BMP")[:1000], "damaged or not supported"),
        (bomb(), "100000x100000 is more than 1000000000 pixels"),
    ],
    ids=["empty", "text", "gif", "png", "jpeg", "webp", "tiff", "bmp", "bomb"],
)
def test_bad_files_give_one_line_with_the_name(tmp_path, content, message):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        images.read(tmp_path / "bad.png")
    assert "bad.png" in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_sixteen_bit_png_is_damaged(tmp_path):
    images.write(
        tmp_path / "a.png",
        images.Picture(np.random.default_rng(0).random((30, 30, 3), np.float32), samples=images.WORDS),
    )
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=r"b\.png: damaged"):
        images.read(tmp_path / "b.png")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match="gone.png: No such file"):
        images.read(tmp_path / "gone.png")


def test_reading_leaves_pillows_own_limit(tmp_path):
    save(tmp_path / "in.png", samples(20, 20, 3))
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(RunError, match="20x20 is more than 399 pixels"):
        images.read(tmp_path / "in.png", max_pixels=399)
    assert images.pixels(tmp_path / "in.png", max_pixels=400) == 400
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("suffix", "picture", "message"),
    [
        (".jpg", images.Picture(np.zeros((1, 1, 3)), alpha=np.zeros((1, 1))), "JPEG keeps no alpha"),
        (".bmp", images.Picture(np.zeros((1, 1, 3)), alpha=np.zeros((1, 1))), "BMP keeps no alpha"),
        (".webp", images.Picture(np.zeros((1, 1, 3)), samples=images.WORDS), "8 bits per sample"),
        (".webp", images.Picture(np.zeros((1, 16384, 1))), "more than WEBP holds"),
        (".gif", images.Picture(np.zeros((1, 1, 3))), "suffix must be one of"),
    ],
)
def test_what_a_format_cannot_hold_is_an_error(tmp_path, suffix, picture, message):
    with pytest.raises(RunError, match=message):
        images.write(tmp_path / f"out{suffix}", picture)
    assert not list(tmp_path.iterdir())


def test_values_are_clipped_and_rounded_once(tmp_path):
    values = np.array([[-0.2, 0.4999 / 255, 0.5001 / 255, 1.3]], np.float32)[..., None]
    images.write(tmp_path / "out.png", images.Picture(values))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), [[0, 0, 1, 255]])


def test_gray_jpeg_stays_gray_and_close(tmp_path):
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None].repeat(16, 0)
    images.write(tmp_path / "out.jpg", images.Picture(ramp))
    picture = images.read(tmp_path / "out.jpg")
    assert picture.gray
    np.testing.assert_allclose(picture.color, ramp, atol=3 / 255)
