"""JPEG, WebP, AVIF, BMP: what is said beside the pixels, from format to format."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from awsrn_fast import images
from awsrn_fast.errors import RunError
from awsrn_fast.images.jpeg import iptc_segment, quality_of

XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation='6' tiff:ImageWidth='32' "
    b'exif:PixelYDimension="24" GPano:FullPanoWidthPixels="64" dc:title=\'kept\'/>'
    b"<tiff:ImageLength>24</tiff:ImageLength><tiff:XResolution>300/1</tiff:XResolution></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x50\0\x02me"
avif = pytest.mark.skipif(".avif" not in images.FORMATS, reason="Pillow without AVIF")
SUFFIXES = [".png", ".tif", ".jpg", ".webp", ".bmp", pytest.param(".avif", marks=avif)]


def color(ramp: np.ndarray) -> Image.Image:
    return Image.fromarray(ramp[..., None].repeat(3, 2))


def segments(path: Path, *added: tuple[int, bytes]) -> None:
    """Insert application segments behind the first of a JPEG."""
    data = path.read_bytes()
    more = b"".join(bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content for marker, content in added)
    path.write_bytes(data[:2] + more + data[2:])


def twice(folder: Path, source: str, suffix: str) -> tuple[images.Picture, Path]:
    """Written again with twice as many pixels along each side; what was read, and where."""
    picture, target = images.read(folder / source), folder / f"out{suffix}"
    header = picture.header.scaled(2)
    images.write(target, images.Picture(picture.color.repeat(2, 0).repeat(2, 1), **header.about()))
    return picture, target


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_resolution_grows_with_the_picture_in_every_format(tmp_path, ramp, suffix):
    color(ramp).save(tmp_path / "in.jpg", dpi=(300, 150))
    picture, target = twice(tmp_path, "in.jpg", suffix)
    for _ in range(2):
        found = images.read(target)
        np.testing.assert_allclose(found.extras.resolution.per("inch"), (600, 300), rtol=1e-3)
        images.write(target, found)
    assert not any("resolution" in note for note in images.not_kept(picture.header, images.FORMATS[suffix]))


@pytest.mark.parametrize("unit", ["inch", "cm", "m"])
def test_units_of_resolution(unit):
    found = images.Resolution(300, 150, "inch")
    assert found.per("inch") == (300, 150)
    x, y = images.Resolution(*found.per(unit), unit).per("inch")
    assert x == pytest.approx(300) and y == pytest.approx(150)


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", pytest.param(".avif", marks=avif), ".tif"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_xmp_goes_on_with_the_new_size(tmp_path, ramp, source, suffix):
    if source in (".png", ".tif"):
        black = images.Picture(np.zeros((24, 32, 3), np.float32), extras=images.Extras(xmp=XMP))
        images.write(tmp_path / f"in{source}", black)
    else:
        color(ramp).save(tmp_path / f"in{source}", xmp=XMP.replace(b"'6'", b"'1'"))
    picture, target = twice(tmp_path, f"in{source}", suffix)
    if suffix == ".bmp":
        assert images.not_kept(picture.header, "BMP") == ("BMP keeps no XMP",)
        return
    xmp = images.read(target).extras.xmp
    attributes = (b"tiff:Orientation='1'", b"tiff:ImageWidth='64'", b'exif:PixelYDimension="48"', b"dc:title='kept'")
    elements = (b'FullPanoWidthPixels="128"', b"<tiff:ImageLength>48<", b"<tiff:XResolution>600/1<")
    for part in attributes + elements:
        assert part in xmp


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_iptc_and_comment_are_kept_or_said(tmp_path, ramp, suffix):
    color(ramp).save(tmp_path / "in.jpg", comment=b"a comment", extra=iptc_segment(IPTC))
    picture, target = twice(tmp_path, "in.jpg", suffix)
    assert picture.extras.iptc == IPTC and picture.extras.comment == b"a comment"
    with Image.open(target) as image:
        image.load()
        comment = image.info.get("comment", image.info.get("Comment"))
    kept = {"IPTC": images.read(target).extras.iptc == IPTC, "comment": comment in (b"a comment", "a comment")}
    said = " ".join(images.not_kept(picture.header, images.FORMATS[suffix]))
    assert {name: f"no {name}" not in said for name in kept} == kept


@pytest.mark.parametrize("suffix", [".jpg", ".webp", pytest.param(".avif", marks=avif)])
def test_texts_and_colour_chunks_of_png_are_named_where_they_go(tmp_path, suffix):
    chunks = ((b"tEXt", b"Title\0x"), (b"gAMA", struct.pack(">I", 45455)), (b"cICP", bytes([9, 16, 0, 1])))
    header = images.Header(4, 4, extras=images.Extras(chunks=chunks))
    format = images.FORMATS[suffix]
    assert images.not_kept(header, format) == (f"{format} keeps no texts, no gAMA, cICP",)
    assert images.not_kept(header, "PNG") == ()


def test_what_is_too_long_for_jpeg_is_left_out_and_said(tmp_path):
    extras = images.Extras(images.Resolution(70000, 70000, "inch"), b"x" * 70000, b"y" * 70000, b"z" * 70000)
    header = images.Header(4, 4, extras=extras)
    (said,) = images.not_kept(header, "JPEG")
    for part in ("XMP of 70000 bytes", "IPTC of 70000", "comment of 70000", "resolution of so many pixels"):
        assert part in said
    images.write(tmp_path / "out.jpg", images.Picture(np.zeros((4, 4, 3), np.float32), extras=extras))
    assert (tmp_path / "out.jpg").stat().st_size < 5000


def test_bmp_keeps_no_exif_and_no_profile(ramp, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    color(ramp).save(tmp_path / "in.jpg", exif=exif, icc_profile=profile)
    assert images.not_kept(images.read(tmp_path / "in.jpg").header, "BMP") == ("BMP keeps no colour profile, no EXIF",)


def test_places_in_pixels_and_parts_of_exif(tmp_path, ramp):
    exif = Image.Exif()
    exif[0x010F], exif[0x4746] = "Maker", 4
    exif[0x8769] = {0xA20E: 1000.0, 0xA20F: 1000.0, 0x9214: (10, 8, 4, 4), 0x927C: b"maker's own", 0xA005: {1: "R98"}}
    color(ramp).save(tmp_path / "in.jpg", exif=exif)
    picture, target = twice(tmp_path, "in.jpg", ".jpg")
    assert picture.notes == ("tags left out: MakerNote",)
    with Image.open(target) as image:
        found = image.getexif()
        details = found.get_ifd(0x8769)
        assert (found[0x010F], found[0x4746]) == ("Maker", 4)
        assert float(details[0xA20E]) == 2000 and details[0x9214] == (20, 16, 8, 8)
        assert found.get_ifd(0xA005)[1] == "R98"


def test_the_thumbnail_of_exif_is_said(tmp_path, ramp):
    base = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x0131, 2, 4, int.from_bytes(b"me\0\0", "little"))
    exif = base + struct.pack("<I", 26) + struct.pack("<HHHIII", 1, 0x0103, 3, 1, 6, 0)
    color(ramp).save(tmp_path / "in.jpg", exif=exif)
    assert images.read(tmp_path / "in.jpg").notes == ("tags left out: thumbnail",)


@pytest.mark.parametrize(
    ("marker", "content", "note"),
    [
        (0xE1, b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>', "HDR gain map is left out"),
        (0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4), "HDR gain map is left out"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x Container:Directory=''/>", "XMP that describes other pictures"),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40), "second part of XMP"),
        (0xEB, b"JP\0\1content credentials", "APP11 left out"),
        (0xE2, b"FPXR\0", "APP2 left out"),
        (0xED, b"Photoshop 3.0\0008BIM\x07\xd0\0\0\0\0\0\4path", "Photoshop's own data is left out"),
    ],
)
def test_other_segments_of_jpeg_are_said(tmp_path, ramp, marker, content, note):
    color(ramp).save(tmp_path / "in.jpg")
    segments(tmp_path / "in.jpg", (marker, content))
    picture = images.read(tmp_path / "in.jpg")
    assert any(note in each for each in picture.notes) and not (picture.extras.xmp or b"").startswith(b"<x")


def test_what_follows_a_jpeg_is_said(tmp_path, ramp):
    color(ramp).save(tmp_path / "in.jpg")
    assert images.read(tmp_path / "in.jpg").notes == ()
    with open(tmp_path / "in.jpg", "ab") as file:
        file.write(b"\0\0\0\x18ftypmp42 a film")
    assert images.read(tmp_path / "in.jpg").notes == ("what follows the picture in the file is left out",)


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 79, 80, 85, 95])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quality_of_jpeg_is_what_the_encoder_was_told(tmp_path, ramp, quality, mode):
    color(ramp).convert(mode).save(tmp_path / "in.jpg", quality=quality)
    assert abs(images.read(tmp_path / "in.jpg").quality - quality) <= 1
    assert quality_of({}) is None and quality_of({0: [255] * 64}) < 15 and quality_of({0: [1] * 64, 1: [1] * 64}) == 100


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("quality", [None, 80])
def test_lossless_webp_stays_lossless_unless_a_quality_is_asked_for(tmp_path, ramp, lossless, mode, quality):
    image = color(ramp).convert(mode)
    image.putpixel((0, 0), (1, 2, 3) if mode == "RGB" else (1, 2, 3, 4))
    image.save(tmp_path / "in.webp", lossless=lossless, exif=Image.Exif(), icc_profile=None)
    picture = images.read(tmp_path / "in.webp")
    assert picture.lossless == lossless
    images.write(tmp_path / "out.webp", picture, quality)
    assert images.read(tmp_path / "out.webp").lossless == (lossless and quality is None)
    if lossless and quality is None:
        np.testing.assert_array_equal(images.read(tmp_path / "out.webp").color, picture.color)


@avif
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_in_and_out(tmp_path, ramp, mode):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = color(ramp).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(ramp))
    image.save(tmp_path / "in.avif", exif=exif, quality=100, icc_profile=None if mode == "L" else profile)
    assert images.pixels(tmp_path / "in.avif") == 24 * 32 and images.format_inside(tmp_path / "in.avif") == "AVIF"
    picture = images.read(tmp_path / "in.avif")
    assert picture.size == (32, 24) and picture.format == "AVIF"  # upright
    assert np.abs(picture.color[..., 0] * 255 - np.rot90(ramp, -1)).max() <= 3
    images.write(tmp_path / "out.avif", picture, 100)
    again = images.read(tmp_path / "out.avif")
    assert again.size == (32, 24) and again.exif[0x010F] == "Maker" and (again.alpha is not None) == (mode == "RGBA")
    assert np.abs(again.color - picture.color).max() <= 4 / 255


@avif
def test_deep_avif_keeps_its_depth(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    array = (np.add.outer(np.arange(24) * 20, np.arange(32) * 10)[..., None] + np.arange(3) * 5).astype(np.uint16)
    for bits, top in ((10, 1023), (12, 4095)):
        data = imagecodecs.avif_encode(array % (top + 1), bitspersample=bits, level=100)
        (tmp_path / "in.avif").write_bytes(data)
        picture = images.read(tmp_path / "in.avif")
        assert picture.depth == 16 and f"{bits} bits per sample become 16" in picture.notes
        expected = imagecodecs.avif_decode(data) / top
        np.testing.assert_allclose(picture.color, expected, atol=1e-5)
        with pytest.raises(RunError, match="AVIF has 8 bits per sample, the image has 16; write PNG or TIFF"):
            images.check_writable(tmp_path / "out.avif", picture.header)


@avif
def test_animated_avif_is_refused(tmp_path):
    frames = [Image.new("RGB", (16, 16), name) for name in ("red", "blue")]
    frames[0].save(tmp_path / "in.avif", save_all=True, append_images=frames[1:])
    with pytest.raises(RunError, match="2 animated frames"):
        images.read(tmp_path / "in.avif")


def test_heif_in_and_out(tmp_path, ramp):
    pytest.importorskip("pillow_heif")
    images.write(tmp_path / "in.heic", images.Picture(color_of(ramp), extras=images.Extras(xmp=XMP)), 95)
    picture = images.read(tmp_path / "in.heic")
    assert picture.format == "HEIF" and picture.size == (24, 32) and b"dc:title" in picture.extras.xmp
    assert np.abs(picture.color - color_of(ramp)).max() < 8 / 255


def color_of(ramp: np.ndarray) -> np.ndarray:
    return (ramp / np.float32(255)).astype(np.float32)[..., None].repeat(3, 2)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"v/1\x01", "OpenEXR"),
        (b"P6\n2 2\n255\n", "Netpbm"),
        (b"qoif", "QOI"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg", "SVG"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "raw photograph (CR3)"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "film"),
        (b"FUJIFILMCCD-RAW ", "raw photograph (RAF)"),
        (b"#?RADIANCE\n", "Radiance HDR"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_names(tmp_path, content, name):
    (tmp_path / "in.png").write_bytes(content + bytes(200))
    with pytest.raises(RunError) as caught:
        images.read(tmp_path / "in.png")
    assert str(caught.value).startswith(
        f"{tmp_path}/in.png: {name}, which is not read here; save it as one of PNG, JPEG"
    )


def test_a_heif_without_its_package_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(images.reading, "FORMATS", {".png": "PNG", ".jpg": "JPEG"})
    (tmp_path / "in.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    with pytest.raises(RunError, match="HEIF, which is read with the package pillow-heif"):
        images.read(tmp_path / "in.heic")


@pytest.mark.parametrize("bits", [12, 16])
def test_a_jpeg_of_more_bits_is_called_one(tmp_path, ramp, bits):
    file = io.BytesIO()
    color(ramp).save(file, "JPEG")
    data = bytearray(file.getvalue())
    data[data.index(b"\xff\xc0") + 4] = bits
    (tmp_path / "in.jpg").write_bytes(data)
    with pytest.raises(RunError, match=f"a JPEG with {bits} bits per sample, which is not read here"):
        images.read(tmp_path / "in.jpg")


def test_the_profile_of_a_bmp_is_found(tmp_path, ramp):
    profile = bytes(16) + b"RGB " + bytes(108)
    file = io.BytesIO()
    color(ramp).save(file, "BMP")
    pixels = file.getvalue()[54:]
    head = struct.pack("<IiiHHIIiiII", 124, 32, 24, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + b"DEBM" + bytes(48)
    head += struct.pack("<IIII", 4, 124 + len(pixels), len(profile), 0)
    content = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels) + len(profile), 0, 0, 14 + len(head))
    (tmp_path / "in.bmp").write_bytes(content + head + pixels + profile)
    picture = images.read(tmp_path / "in.bmp")
    assert picture.icc == profile
    np.testing.assert_array_equal(np.rint(255 * picture.color[..., 0]), ramp)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_xmp_within_exif_is_xmp(tmp_path, ramp, suffix):
    exif = Image.Exif()
    exif[700] = XMP.replace(b"'6'", b"'1'")
    color(ramp).save(tmp_path / f"in{suffix}", exif=exif)
    picture, target = twice(tmp_path, f"in{suffix}", ".png")
    assert b"dc:title='kept'" in images.read(target).extras.xmp and picture.notes == ()
