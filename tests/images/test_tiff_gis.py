"""TIFF of GDAL, GIS programs, microscopes and cameras: no-data numbers, masks, bands, stacks, thumbnails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade import tags_of, write_tiff
from PIL import Image

from awsrn_fast import images
from awsrn_fast.errors import RunError
from awsrn_fast.images.tiff_facts import nodata_number

tifffile = pytest.importorskip("tifffile")

HOLE = np.s_[4:10, 6:15]


def enlarged(folder: Path, source: str = "in.tif") -> images.Picture:
    """Read, made larger by repeating pixels, written to out.tif; what was read."""
    picture = images.read(folder / source)
    header = picture.header.scaled(2)
    alpha = None if picture.alpha is None else picture.alpha.repeat(2, 0).repeat(2, 1)
    images.write(folder / "out.tif", images.Picture(picture.color.repeat(2, 0).repeat(2, 1), alpha, **header.about()))
    return picture


def tag(path: Path, code: int) -> object:
    with tifffile.TiffFile(path) as file:
        found = file.pages[0].tags.get(code)
        return None if found is None else found.value


@pytest.mark.parametrize(
    ("text", "dtype", "number"),
    [
        ("-3.39999999999999996e+38", "f4", np.float32(-3.4e38)),
        ("-3.40282e+38", "f4", np.finfo("f4").min),
        ("3.4028234663852886e+38", "f4", np.finfo("f4").max),
        ("-1.7976931348623157e+308", "f8", np.finfo("f8").min),
        ("-1.79769313486232e+308", "f8", np.finfo("f8").min),
        ("-1.797693e+308", "f4", np.finfo("f4").min),
        ("-9999", "f4", -9999),
        ("-9999.0", "i2", -9999),
        ("-9.999e+03", "i2", -9999),
        ("-9999", "f2", -10000),
        ("-32768", "i2", -32768),
        ("65535", "u2", 65535),
        ("255", "u1", 255),
        ("0", "u1", 0),
        ("-128", "i1", -128),
        ("4294967295", "u4", 4294967295),
        ("18446744073709551615", "u8", 2**64 - 1),
        ("-9223372036854775808", "i8", -(2**63)),
        ("0.1", "f4", np.float32(0.1)),
        ("nan", "f4", np.nan),
        ("inf", "f4", np.inf),
        ("-inf", "f8", -np.inf),
    ],
)
def test_the_no_data_number_is_that_of_the_samples_type(tmp_path, text, dtype, number):
    hill = (np.add.outer(np.arange(20), np.arange(24)) + 1).astype(dtype)
    hill[HOLE] = number
    write_tiff(tmp_path / "in.tif", (tags_of(hill, t42113=(2, text.encode() + b"\0")), [hill.tobytes()]))
    picture = enlarged(tmp_path)
    assert (picture.samples.low == 1 and picture.samples.high == (255 if dtype == "u1" and text == "255" else 43)) or (
        dtype == "u1"
    )
    gone = np.zeros((20, 24), bool)
    gone[HOLE] = True
    np.testing.assert_array_equal(picture.alpha < 0.5, gone)
    written = tifffile.imread(tmp_path / "out.tif")[::2, ::2]
    assert written.dtype == hill.dtype and tag(tmp_path / "out.tif", 42113) == text
    np.testing.assert_allclose(written[~gone].astype(float), hill[~gone].astype(float), rtol=1e-3)
    if number == number:
        np.testing.assert_allclose(written[gone].astype(float), float(number), rtol=2e-5)
    else:
        assert np.isnan(written[gone]).all()


@pytest.mark.parametrize(
    ("text", "dtype"), [("nan", "u2"), ("-9999", "u2"), ("65536", "u2"), ("0.5", "i2"), ("inf", "i4"), ("none", "f4")]
)
def test_a_no_data_number_that_the_type_does_not_have_matches_nothing(tmp_path, text, dtype):
    hill = np.add.outer(np.arange(20), np.arange(24)).astype(dtype)
    write_tiff(tmp_path / "in.tif", (tags_of(hill, t42113=(2, text.encode() + b"\0")), [hill.tobytes()]))
    assert nodata_number(text, hill.dtype) is None
    picture = enlarged(tmp_path)
    assert picture.alpha is None and picture.samples.low == 0
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif")[::2, ::2], hill, atol=1e-4)
    assert tag(tmp_path / "out.tif", 42113) == text


def test_a_no_data_number_that_no_pixel_has_stays_and_no_value_becomes_it():
    for dtype, number, beside in (("i2", 5, 6), ("u2", 65535, 65534), ("f4", 0.0, np.nextafter(np.float32(0), 1))):
        samples = images.Samples(np.dtype(dtype), 0, 2 * float(number) if number else 0, avoided=number)
        level = 0.5 if number else 0
        assert samples.from_unit(np.full((1, 1, 1), level, np.float32)).item() == beside


def test_numbers_of_too_many_digits_are_refused(tmp_path):
    array = np.full((8, 8), 2**53 + 1, np.uint64)
    write_tiff(tmp_path / "in.tif", (tags_of(array), [array.tobytes()]))
    with pytest.raises(RunError, match=r"in\.tif: numbers up to 9\.0072e\+15 have more digits than can be kept"):
        images.read(tmp_path / "in.tif")


@pytest.mark.parametrize(("dtype", "text"), [("i2", "-9999"), ("f4", "-9999"), ("u2", "0"), ("u2", None), ("u1", "7")])
def test_absent_tiles_have_no_data_or_are_zero(tmp_path, dtype, text):
    there = (np.add.outer(np.arange(16), np.arange(16)) + 30).astype(dtype)
    tags = tags_of(np.zeros((16, 32), dtype), t322=(3, [16]), t323=(3, [16]))
    del tags[278]
    if text:
        tags[42113] = (2, text.encode() + b"\0")
    write_tiff(tmp_path / "in.tif", (tags, [there.tobytes(), None]))
    picture = enlarged(tmp_path)
    written = tifffile.imread(tmp_path / "out.tif")[::2, ::2]
    np.testing.assert_allclose(written[:, :16], there, atol=1e-4)
    assert (written[:, 16:] == int(text or 0)).all()
    assert (picture.alpha is not None) == (text is not None)


@pytest.mark.parametrize("strips", [1, 2, 4])
def test_absent_strips_are_as_absent_tiles(tmp_path, strips):
    there = np.full((16 // strips, 8), 5, np.int16)
    tags = tags_of(np.zeros((16, 8), np.int16), t278=(4, [16 // strips]), t42113=(2, b"-1\0"))
    write_tiff(tmp_path / "in.tif", (tags, [None] * (strips - 1) + [there.tobytes() if strips > 1 else None]))
    if strips == 1:
        with pytest.raises(RunError, match="all values are NaN, infinite or marked as no data"):
            images.read(tmp_path / "in.tif")
        return
    picture = images.read(tmp_path / "in.tif")
    assert (picture.alpha[: -len(there)] == 0).all() and (picture.alpha[-len(there) :] == 1).all()


SCALE = (
    '<Item name="SCALE" sample="0" role="scale">0.0001</Item><Item name="OFFSET" sample="0" role="offset">-0.1</Item>'
)


@pytest.mark.parametrize("photometric", [1, 3], ids=["gray", "palette"])
def test_scale_offset_and_place_are_kept(tmp_path, photometric):
    """By the reader of parts, and by Pillow, which reads palettes."""
    array = np.arange(24 * 32, dtype=np.uint16 if photometric == 1 else np.uint8).reshape(24, 32)
    xml = f'<GDALMetadata>{SCALE}<Item name="STATISTICS_MAXIMUM" sample="0">767</Item></GDALMetadata>'
    tags = tags_of(array, photometric, t42112=(2, xml.encode() + b"\0"), t33550=(12, [10.0, 10.0, 0.0]))
    tags |= {33922: (12, [0.0, 0.0, 0.0, 5e5, 4e6, 0.0])}
    if photometric == 3:
        tags |= {320: (3, [257 * (i % 256) for i in range(768)])}
    write_tiff(tmp_path / "in.tif", (tags, [array.tobytes()]))
    picture = enlarged(tmp_path)
    assert tag(tmp_path / "out.tif", 42112) == f"<GDALMetadata>{SCALE}</GDALMetadata>"
    assert tag(tmp_path / "out.tif", 33550) == (5, 5, 0)
    assert "GDAL's statistics of the old numbers are left out" in picture.notes
    assert images.not_kept(picture.header, "PNG") == ("PNG keeps no georeference, no GDAL metadata",)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "f4", "f8"])
def test_numbers_that_show_the_smallest_as_white_stay(tmp_path, dtype):
    array = np.add.outer(np.arange(20), np.arange(24)).astype(dtype)
    write_tiff(tmp_path / "in.tif", (tags_of(array, 0), [array.tobytes()]))
    enlarged(tmp_path)
    assert tag(tmp_path / "out.tif", 262) == 0
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif")[::2, ::2], array, atol=1e-4)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_as_zero_is_inverted_together_with_the_no_data_number(tmp_path, dtype):
    array = (np.add.outer(np.arange(20), np.arange(24)) + 1).astype(dtype)
    array[HOLE] = 0
    write_tiff(tmp_path / "in.tif", (tags_of(array, 0, t42113=(2, b"0\0")), [array.tobytes()]))
    enlarged(tmp_path)
    top = np.iinfo(dtype).max
    assert tag(tmp_path / "out.tif", 262) == 1 and tag(tmp_path / "out.tif", 42113) == str(top)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif")[::2, ::2], top - array)


def test_the_alpha_of_white_as_zero_is_not_inverted(tmp_path, ramp):
    both = np.stack((ramp, ramp // 2), -1)
    write_tiff(tmp_path / "in.tif", (tags_of(both, 0, t338=(3, [2])), [both.tobytes()]))
    picture = images.read(tmp_path / "in.tif")
    np.testing.assert_array_equal(np.rint(255 * picture.color[..., 0]), 255 - ramp)
    np.testing.assert_array_equal(np.rint(255 * picture.alpha), ramp // 2)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("extra", [[0, 0], [], [0, 0, 2]], ids=["unspecified", "unsaid", "alpha"])
@pytest.mark.parametrize("separate", [False, True])
def test_three_bands_of_gray_are_red_green_and_blue(tmp_path, dtype, extra, separate):
    planes = 4 if len(extra) == 3 else 3
    if planes == 4 and dtype == "f4":
        pytest.skip("no alpha with floating samples")
    array = (np.random.default_rng(0).integers(0, 200, (20, 24, planes))).astype(dtype)
    tags = tags_of(array, 1, t338=(3, extra), t284=(3, [2 if separate else 1]))
    if not extra:
        del tags[338]
    strips = [np.ascontiguousarray(plane).tobytes() for plane in np.moveaxis(array, -1, 0)]
    write_tiff(tmp_path / "in.tif", (tags, strips if separate else [array.tobytes()]))
    picture = enlarged(tmp_path)
    assert not picture.gray and "are taken as red, green, blue" in picture.notes[0]
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif")[::2, ::2], array, atol=1e-3)


@pytest.mark.parametrize("extra", [[0, 0, 0], [0, 0, 0, 0]])
def test_more_bands_are_refused(tmp_path, extra):
    array = np.zeros((8, 8, 1 + len(extra)), np.uint16)
    write_tiff(tmp_path / "in.tif", (tags_of(array, 1, t338=(3, extra)), [array.tobytes()]))
    with pytest.raises(RunError, match=rf"in\.tif: {1 + len(extra)} bands; save one band"):
        images.read(tmp_path / "in.tif")


def mask(shape: tuple[int, int], kind: int = 4) -> tuple[dict, list[bytes]]:
    height, width = shape
    tags = tags_of(np.zeros((height, width), np.uint8), 4, t254=(4, [kind])) | {258: (3, [1])}
    del tags[339]
    return tags, [b"\xff\xff\xff\x00" * height]


@pytest.mark.parametrize("kind", ["gray", "rgb", "rgb16", "palette"])
def test_a_mask_becomes_transparency(tmp_path, ramp, kind):
    array = {"rgb": ramp[..., None].repeat(3, 2), "rgb16": ramp[..., None].repeat(3, 2).astype(np.uint16) * 257}.get(
        kind, ramp
    )
    tags = tags_of(array, {"gray": 1, "palette": 3}.get(kind, 2))
    if kind == "palette":
        tags[320] = (3, [257 * (i % 256) for i in range(768)])
    write_tiff(tmp_path / "in.tif", (tags, [array.tobytes()]), mask((24, 32)), mask((12, 16), 5))
    picture = enlarged(tmp_path)
    assert (picture.alpha[:, :24] == 1).all() and (picture.alpha[:, 24:] == 0).all()
    np.testing.assert_array_equal(np.rint(picture.color[..., 0] * 255), ramp)
    assert (
        "the mask becomes transparency" in picture.notes and "smaller copies in the file are left out" in picture.notes
    )
    with images.reader(tmp_path / "in.tif") as reader:
        np.testing.assert_array_equal(reader.window(3, 9, 20, 30)[..., -1], picture.alpha[3:9, 20:30])


def test_the_mask_of_measurements_is_said(tmp_path):
    array = np.add.outer(np.arange(24), np.arange(32)).astype(np.int16)
    write_tiff(tmp_path / "in.tif", (tags_of(array), [array.tobytes()]), mask((24, 32)))
    assert "the mask in the file is left out" in images.read(tmp_path / "in.tif").notes


@pytest.mark.parametrize("how", ["imagej", "depth", "shaped", "stk"])
def test_stacks_behind_one_directory_are_refused(tmp_path, how):
    array = np.zeros((3, 8, 8), np.uint16)
    path = tmp_path / "in.tif"
    if how == "imagej":
        tifffile.imwrite(path, array, imagej=True)
    elif how == "shaped":
        tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": "ZYX"}, truncate=True)
    elif how == "depth":
        write_tiff(path, (tags_of(array[0], t32997=(4, [3])), [array.tobytes()]))
    else:
        write_tiff(path, (tags_of(array[0], t33629=(4, [0] * 3)), [array.tobytes()]))
    with pytest.raises(RunError, match=r"in\.tif: (a stack of \d+ planes|3 pages); only single images"):
        images.read(path)


@pytest.mark.parametrize(
    ("first", "photometric", "message"),
    [
        (1, 32803, "a camera's raw photograph"),
        (0, 32803, "a camera's raw photograph"),
        (0, 34892, "a camera's raw"),
        (1, 1, "thumbnail of another of 128x96 pixels in a sub-directory"),
        (0, 1, "thumbnail of another of 128x96"),
    ],
)
@pytest.mark.parametrize("name", ["in.dng", "in.nef", "in.tif"])
def test_a_thumbnail_is_not_taken_for_the_photograph(tmp_path, ramp, first, photometric, message, name):
    raw = np.zeros((96, 128), np.uint16)
    thumbnail = tags_of(ramp, 1, t254=(4, [first])), [ramp.tobytes()]
    write_tiff(tmp_path / name, thumbnail, below=(tags_of(raw, photometric), [raw.tobytes()]))
    with pytest.raises(RunError, match=message):
        images.read(tmp_path / name)


def test_raw_data_in_the_first_or_another_directory_are_refused(tmp_path, ramp):
    raw = tags_of(ramp, 32803), [ramp.tobytes()]
    small = tags_of(ramp, 1, t254=(4, [1])), [ramp.tobytes()]
    for directories in ([raw], [small, raw], [(tags_of(ramp), [ramp.tobytes()]), raw]):
        write_tiff(tmp_path / "in.tif", *directories)
        with pytest.raises(RunError, match="a camera's raw photograph"):
            images.read(tmp_path / "in.tif")
    write_tiff(tmp_path / "in.tif", small)
    with pytest.raises(RunError, match="its first picture is a thumbnail of another"):
        images.read(tmp_path / "in.tif")


@pytest.mark.parametrize(("unit", "code"), [("inch", 2), ("centimeter", 3), ("none", 1)])
def test_resolution_xmp_and_iptc_of_tiff(tmp_path, ramp, unit, code):
    extra = [
        (700, "B", 9, b"<x:xmp/>\n", True),
        (33723, "B", 7, b"\x1c\x02\x50\0\x02me", True),
        (18246, "H", 1, 5, True),
        (65000, "H", 1, 5, True),
    ]
    density = {"resolution": (300, 150), "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "in.tif", ramp, extratags=extra, metadata=None, **density)
    picture = enlarged(tmp_path)
    assert [tag(tmp_path / "out.tif", t) for t in (282, 283)] == [(600, 1), (300, 1)]
    assert tag(tmp_path / "out.tif", 296) == code and tag(tmp_path / "out.tif", 18246) == 5
    assert (
        tag(tmp_path / "out.tif", 700) == b"<x:xmp/>\n" and tag(tmp_path / "out.tif", 33723) == b"\x1c\x02\x50\0\x02me"
    )
    assert picture.notes == ("tags left out: tag 65000",)


def test_what_imagej_says_of_units_is_kept(tmp_path):
    array = np.arange(80, dtype=np.uint16).reshape(8, 10)
    tifffile.imwrite(tmp_path / "in.tif", array, imagej=True, resolution=(4, 4), metadata={"unit": "um", "min": 3.0})
    enlarged(tmp_path)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.imagej_metadata["unit"] == "um" and file.imagej_metadata["min"] == 3.0
        assert file.asarray().shape == (16, 20) and file.pages[0].tags[282].value == (8, 1)


def test_a_turned_tiff_has_its_resolution_turned(tmp_path, ramp):
    Image.fromarray(ramp).save(tmp_path / "in.tif", tiffinfo={274: 6, 282: 300.0, 283: 150.0, 296: 2})
    picture = images.read(tmp_path / "in.tif")
    assert picture.size == (32, 24) and (picture.extras.resolution.x, picture.extras.resolution.y) == (150, 300)


def test_premultiplied_colours_of_a_turned_image_are_divided(tmp_path):
    array = np.full((4, 6, 4), 100, np.uint8)
    array[..., 3] = 200
    turned = [(274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "in.tif", array, photometric="rgb", extrasamples=["assocalpha"], extratags=turned)
    picture = images.read(tmp_path / "in.tif")
    assert picture.size == (6, 4)
    np.testing.assert_allclose(picture.color, 0.5, atol=0.003)


def test_a_number_that_no_gray_level_has_does_not_bind_the_picture_to_tiff(tmp_path, ramp):
    write_tiff(tmp_path / "in.tif", (tags_of(ramp, t42113=(2, b"255\0")), [ramp.tobytes()]))
    picture = images.read(tmp_path / "in.tif")
    assert picture.notes == () and picture.alpha is None
    images.write(tmp_path / "out.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), ramp)
    assert images.not_kept(picture.header, "PNG") == ("PNG keeps no no-data number",)


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_jpeg_in_a_geotiff_keeps_place_and_mask(tmp_path, ramp, tile):
    """Orthophotos as GDAL compresses them: YCbCr, which Pillow reads."""
    pytest.importorskip("imagecodecs")
    geo = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True)]
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        file.write(ramp[..., None].repeat(3, 2), photometric="rgb", compression="jpeg", tile=tile, extratags=geo)
        file.write(ramp > 50, photometric="mask", subfiletype=4)
    picture = enlarged(tmp_path)
    assert tag(tmp_path / "out.tif", 33550) == (5, 5, 0)
    np.testing.assert_array_equal(picture.alpha > 0.5, ramp > 50)
    assert np.abs(picture.color[..., 0] * 255 - ramp).max() < 6


@pytest.mark.parametrize(("bits", "photometric"), [(8, 3), (4, 1), (1, 1)], ids=["palette", "4 bits", "1 bit"])
def test_a_no_data_number_of_numbers_that_become_others_is_left_out(tmp_path, ramp, bits, photometric):
    packed = np.packbits(np.unpackbits(ramp[..., None], axis=-1)[..., :bits].reshape(24, -1), axis=1)
    tags = tags_of(ramp, photometric, t258=(3, [bits]), t339=(3, [1]), t42113=(2, b"1\0"))
    if photometric == 3:
        tags[320] = (3, [257 * (i % 256) for i in range(768)])
    write_tiff(tmp_path / "in.tif", (tags, [packed.tobytes()]))
    picture = enlarged(tmp_path)
    assert "1, which means no data, is taken as a colour and left out" in picture.notes
    assert tag(tmp_path / "out.tif", 42113) is None
