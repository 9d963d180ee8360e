"""Images in parts: what a window shows is what independent decoders see, in memory that does not follow the image."""

from __future__ import annotations

import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
from PIL import Image

from awsrn_fast import images
from awsrn_fast.errors import RunError
from awsrn_fast.images import png_rows, tiff_rows, tiff_windows

tifffile = pytest.importorskip("tifffile")

DTYPES = ["uint8", "uint16", "int16", "uint32", "float16", "float32", "float64"]


def numbers(dtype: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    if np.dtype(dtype).kind == "f":
        return rng.normal(-300, 40, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min // 3, info.max // 2, shape, dtype, endpoint=True)


def filtered_png(path: Path, array: np.ndarray, **chunks: bytes) -> None:
    """Every filter type in turn, and IDATs of 50 bytes."""
    height, width, planes = array.shape
    pixel = planes * array.dtype.itemsize
    rows = array.astype(array.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8).astype(int)
    data, above = b"", np.zeros(rows.shape[1], int)
    for index, row in enumerate(rows):
        left, corner = (np.concatenate((np.zeros(pixel, int), r[:-pixel])) for r in (row, above))
        estimate = left + above - corner
        distances = np.stack([abs(estimate - x) for x in (left, above, corner)])
        paeth = np.choose(distances.argmin(0), (left, above, corner))  # argmin: the first of equals, as PNG wants it
        predictions = (0, left, above, (left + above) // 2, paeth)
        data += bytes([index % 5]) + ((row - predictions[index % 5]) % 256).astype(np.uint8).tobytes()
        above = row
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * array.itemsize, kind, 0, 0, 0))]
    data = zlib.compress(data)
    parts += [(b"IDAT", data[at : at + 50]) for at in range(0, len(data), 50)]
    parts += [(name.encode(), content) for name, content in chunks.items()] + [(b"IEND", b"")]
    with open(path, "wb") as file:
        png.write_chunks(file, parts)


def all_windows(reader: images.Reader, step: int = 4) -> np.ndarray:
    """The image from windows of ``step`` squared pixels, each read with two pixels around that are then cut off."""
    height, width = reader.header.size
    out = np.empty((height, width, reader.header.planes), np.float32)
    for top in range(0, height, step):
        for left in range(0, width, step):
            y, x = max(top - 2, 0), max(left - 2, 0)
            seen = reader.window(y, min(top + step + 2, height), x, min(left + step + 2, width))
            out[top : top + step, left : left + step] = seen[top - y :, left - x :][:step, :step]
    return out


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("block", [1, 90, 2**22], ids=["by row", "some rows", "at once"])
def test_png_in_windows_with_every_filter(tmp_path, monkeypatch, planes, dtype, block):
    monkeypatch.setattr(png_rows, "_BLOCK", block)
    array = numbers(dtype, 13, 9, planes)
    filtered_png(tmp_path / "in.png", array)
    _, _, rows, _ = png.Reader(filename=str(tmp_path / "in.png")).asDirect()
    np.testing.assert_array_equal(np.array([list(row) for row in rows]).reshape(array.shape), array)  # the test's own
    with images.reader(tmp_path / "in.png") as reader:
        assert isinstance(reader, png_rows.PngRows) and reader.header.size == (13, 9)
        expected = array.astype(np.float32) / np.float32(np.iinfo(dtype).max)
        np.testing.assert_array_equal(all_windows(reader), expected)
        np.testing.assert_array_equal(reader.window(0, 5, 0, 9), expected[:5])  # starts anew
        for top, bottom in ((0, 12), (0, 3), (2, 4), (2, 9), (5, 6)):  # within what is decoded, and beyond
            np.testing.assert_array_equal(reader.window(top, bottom, 1, 8), expected[top:bottom, 1:8])


def test_exif_behind_the_pixels_is_found_and_a_turned_png_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    array = numbers("uint16", 5, 7, 3)
    filtered_png(tmp_path / "in.png", array, eXIf=exif.tobytes().removeprefix(b"Exif\0\0"))
    picture = images.read(tmp_path / "in.png")
    assert picture.exif[0x010F] == "Maker" and picture.size == (7, 5)
    np.testing.assert_array_equal(picture.samples.from_unit(picture.color), np.rot90(array, -1))


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_png_that_ends_early_or_is_damaged_says_so(tmp_path, cut):
    filtered_png(tmp_path / "in.png", numbers("uint8", 30, 30, 3))
    content = (tmp_path / "in.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: int(cut * len(content))])
    with pytest.raises(RunError, match=r"cut\.png: damaged or not supported \(the file ends early\)"):
        images.reader(tmp_path / "cut.png")
    at = int(cut * len(content))
    (tmp_path / "flipped.png").write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    with pytest.raises(RunError, match=r"flipped\.png: damaged"):
        images.read(tmp_path / "flipped.png")


def test_png_whose_data_are_too_few_is_damaged(tmp_path):
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(50))),
        (b"IEND", b""),
    ]
    with open(tmp_path / "in.png", "wb") as file:
        png.write_chunks(file, parts)
    with pytest.raises(RunError, match=r"in\.png: damaged or not supported \(the image data ends early\)"):
        images.read(tmp_path / "in.png")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("planes", "options"),
    [
        (1, {}),
        (3, {}),
        (1, {"rowsperstrip": 3, "compression": "zlib", "byteorder": ">"}),
        (3, {"rowsperstrip": 3, "compression": "zlib", "byteorder": ">"}),
        (1, {"tile": (16, 32), "compression": "lzw", "bigtiff": True}),
        (3, {"tile": (16, 32), "compression": "lzw", "bigtiff": True}),
        (3, {"rowsperstrip": 4, "planarconfig": "separate"}),
        (3, {"tile": (16, 16), "planarconfig": "separate", "compression": "zstd"}),
    ],
)
def test_tiff_in_windows(tmp_path, dtype, planes, options):
    array = numbers(dtype, 37, 41, planes)
    if options.get("compression") == "zlib" and dtype != "float16":
        options = options | {"predictor": True}
    saved = array.transpose(2, 0, 1) if "planarconfig" in options else array if planes == 3 else array[..., 0]
    tifffile.imwrite(tmp_path / "in.tif", saved, photometric="rgb" if planes == 3 else "minisblack", **options)
    assert images.pixels(tmp_path / "in.tif") == 37 * 41
    with images.reader(tmp_path / "in.tif") as reader:
        assert isinstance(reader, tiff_windows.TiffWindows)
        samples = reader.header.samples
        assert samples.dtype == dtype and reader.header.gray == (planes == 1)
        found = all_windows(reader, 9)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    if not samples.natural:
        assert (samples.low, samples.high) == (array.min(), array.max()) and (found.min(), found.max()) == (0, 1)
    step = 1.0 if np.dtype(dtype).kind in "iu" and dtype != "uint32" else (samples.high - samples.low) * 1e-6
    error = np.abs(samples.from_unit(found).astype(float) - array.astype(float)).max()
    assert error < step


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
def test_tiff_written_row_by_row_is_read_by_others(tmp_path, monkeypatch, dtype, planes, big):
    monkeypatch.setattr(tiff_rows, "_STRIP", 100)
    if big:
        monkeypatch.setattr(tiff_rows, "_LARGEST_CLASSIC", 0)
    array = numbers(dtype, 23, 11, planes)
    natural = {"uint8": images.BYTES, "uint16": images.WORDS}.get(dtype)
    samples = natural or images.Samples(np.dtype(dtype), float(array.min()), float(array.max()))
    unit = samples.to_unit(array)
    with images.writer(tmp_path / "out.tif", images.Header(23, 11, planes == 1, samples=samples)) as file:
        for top in range(0, 23, 3):
            file.write(unit[top : top + 3])
    with tifffile.TiffFile(tmp_path / "out.tif") as found:
        assert found.is_bigtiff == big and len(found.pages[0].dataoffsets) > 1
        written = found.asarray()
    assert written.dtype == dtype
    np.testing.assert_array_equal(written.reshape(array.shape), samples.from_unit(unit))


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
def test_metadata_of_tiff(tmp_path, monkeypatch, big):
    if big:
        monkeypatch.setattr(tiff_rows, "_LARGEST_CLASSIC", 0)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x8769], exif[0x8825] = {0xA002: 5, 0x829A: 0.5}, {1: "N", 2: (48.0, 51.0, 30.0)}
    icc = b"\0" * 16 + b"RGB " + b"\0" * 108
    picture = images.Picture(np.zeros((6, 10, 3), np.float32), np.ones((6, 10), np.float32), icc=icc, exif=exif)
    images.write(tmp_path / "out.tif", picture)
    found = images.read(tmp_path / "out.tif")
    assert found.icc == icc and found.alpha.min() == 1 and found.exif[0x010F] == "Maker"
    assert found.exif[0x8769][0xA002] == 10 and float(found.exif[0x8769][0x829A]) == 0.5
    assert found.exif[0x8825][2] == (48.0, 51.0, 30.0)
    if not big:
        with Image.open(tmp_path / "out.tif") as image:  # read by libtiff
            assert image.mode == "RGBA" and np.asarray(image)[0, 0].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize("kind", [{}, {"imagej": True}, {"ome": True}], ids=["tifffile", "imagej", "ome"])
def test_descriptions_of_the_old_size_are_left_out(tmp_path, caplog, kind):
    tifffile.imwrite(tmp_path / "in.tif", numbers("uint16", 5, 7), **kind)
    header = images.reader(tmp_path / "in.tif").header
    images.write(tmp_path / "out.tif", images.Picture(np.ones((10, 14, 1), np.float32), **header.about()))
    assert tifffile.imread(tmp_path / "out.tif").shape == (10, 14) and not caplog.messages
    tifffile.imwrite(tmp_path / "in.tif", numbers("uint16", 5, 7), description="a lung", metadata=None)
    assert images.read(tmp_path / "in.tif").exif[270] == "a lung"


def test_sparse_tiles_are_zero_and_premultiplied_colours_are_divided(tmp_path):
    array = np.full((4, 4, 4), 100, np.uint16)
    array[..., 3] = [[0, 200, 65535, 50]] * 4
    tifffile.imwrite(tmp_path / "in.tif", array, photometric="rgb", extrasamples=["assocalpha"])
    picture = images.read(tmp_path / "in.tif")
    np.testing.assert_allclose(picture.color[0, :, 0], [100 / 65535, 0.5, 100 / 65535, 1], rtol=1e-6)
    none = iter([b""] * 4)
    tifffile.imwrite(tmp_path / "sparse.tif", none, shape=(32, 32), dtype="uint8", tile=(16, 16), compression="zlib")
    assert not images.read(tmp_path / "sparse.tif").color.any()


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.full((4, 4), np.nan, np.float32), {}, "all values are NaN, infinite or marked as no data"),
        (
            np.zeros((4, 4, 5), np.uint8),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "5 bands; save one band",
        ),
        (np.zeros((3, 4, 4), np.uint16), {"photometric": "minisblack"}, "3 pages; only single images"),
        (np.zeros((4, 4), np.complex64), {}, "a TIFF that is damaged or of a kind that is not supported"),
    ],
    ids=["nan", "bands", "pages", "complex"],
)
def test_tiff_that_is_no_picture_is_refused(tmp_path, array, options, message):
    tifffile.imwrite(tmp_path / "in.tif", array, **options)
    with pytest.raises(RunError, match=rf"in\.tif: .*({message})") as caught:
        images.reader(tmp_path / "in.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "nodata", "planes"), [("float32", None, 1), ("float32", -9999, 3), ("int16", 40, 1), ("uint16", 0, 1)]
)
def test_missing_values_stay_missing(tmp_path, dtype, nodata, planes):
    array = np.random.default_rng(0).integers(30, 50, (20, 24, planes)).astype(dtype)
    array[array == nodata] = 41
    array[5:9, 7:20, -1] = np.nan if nodata is None else nodata  # in one band
    options = {} if nodata is None else {"extratags": [(42113, "s", 0, str(nodata), True)]}
    tifffile.imwrite(tmp_path / "in.tif", array, photometric="rgb" if planes == 3 else "minisblack", **options)
    with images.reader(tmp_path / "in.tif") as reader:
        header, values = reader.header, reader.window(0, 20, 0, 24)
    assert header.alpha and header.planes == planes + 1 and (header.samples.low, header.samples.high) == (30, 49)
    assert np.isfinite(values).all() and "values that mean no data" in header.notes[-1]
    assert not values[5:9, 7:20, -1].any() and values[..., -1].sum() == 20 * 24 - 4 * 13
    images.write(tmp_path / "out.tif", images.read(tmp_path / "in.tif"))
    written = tifffile.imread(tmp_path / "out.tif").reshape(array.shape)
    gone = np.zeros((20, 24), bool)
    gone[5:9, 7:20] = True
    np.testing.assert_array_equal(written[~gone], array[~gone])
    assert (np.isnan(written[gone]) if nodata is None else written[gone] == nodata).all()
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        np.testing.assert_equal(file.pages[0].nodata, np.nan if nodata is None else nodata)
    with pytest.raises(RunError, match="PNG cannot keep the image's values"):
        images.check_writable(tmp_path / "out.png", header)


def directory(point: bool) -> tuple[int, ...]:
    """GeoTIFF's keys: a header, the raster type, a coordinate system."""
    return (1, 1, 0, 2, 1025, 0, 1, 1 + point, 3072, 0, 1, 32633)


def place(tags: dict[int, tuple], column: float, row: float) -> np.ndarray:
    """x and y of a point by the file's own tags."""
    if 34264 in tags:
        return np.reshape(tags[34264], (4, 4))[:2] @ [column, row, 0, 1]
    (left, top, _, x, y, _), (wide, high, _) = tags[33922], tags[33550]
    return np.array([x + (column - left) * wide, y - (row - top) * high])


@pytest.mark.parametrize("point", [False, True], ids=["area", "point"])
@pytest.mark.parametrize("matrix", [False, True])
def test_a_larger_image_lies_at_the_same_place(tmp_path, matrix, point):
    sheared = (2.0, 0.3, 0.0, 500.0, 0.1, -3.0, 0.0, 800.0, *[0.0] * 7, 1.0)
    tags = {34264: sheared} if matrix else {33550: (2.0, 3.0, 0.0), 33922: (1.0, 2.0, 0.0, 500.0, 800.0, 0.0)}
    extra = [(tag, "d", len(values), values, True) for tag, values in tags.items()]
    extra += [(34735, "H", 12, directory(point), True), (34737, "s", 0, "UTM 33|", True)]
    tifffile.imwrite(tmp_path / "in.tif", numbers("uint8", 6, 5), extratags=extra)
    with images.reader(tmp_path / "in.tif") as reader:
        header = reader.header
    assert header.notes == ()
    larger = header.scaled(4)
    images.write(tmp_path / "out.tif", images.Picture(np.zeros((24, 20, 1), np.float32), **larger.about()))
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        found = {tag: file.pages[0].tags[tag].value for tag in (*tags, 34735, 34737)}
    assert found[34735] == directory(point) and found[34737] == "UTM 33|"
    first = 0.5 * point  # (0, 0) is the first pixel's corner, or its centre
    for column, row in ((0, 0), (5, 0), (5, 6), (2.5, 3)):  # in pixels from the image's corner
        there = place(tags, column - first, row - first)
        np.testing.assert_allclose(place(found, 4 * column - first, 4 * row - first), there)


def test_damaged_georeference_is_left_out(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", numbers("uint8", 6, 5), extratags=[(33550, "d", 2, (1.0, 2.0), True)])
    with images.reader(tmp_path / "in.tif") as reader:
        assert reader.header.geo is None and reader.header.notes == ("georeference is damaged and left out",)


def test_values_that_are_there_are_not_written_as_missing(tmp_path):
    samples = images.Samples(np.dtype(np.int16), 0, 10, missing=5)
    np.testing.assert_array_equal(samples.from_unit(np.array([[0.5, 1], [0.5, 0.4], [0.6, 1]])), [[6], [5], [6]])


def test_smaller_copies_in_a_file_are_left_out_with_a_note(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        file.write(numbers("uint8", 8, 8), subifds=0)
        file.write(numbers("uint8", 4, 4), subfiletype=1)
    picture = images.read(tmp_path / "in.tif")
    assert picture.size == (8, 8) and "smaller copies in the file are left out" in picture.notes


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_tiff_is_damaged(tmp_path, compression):
    tifffile.imwrite(tmp_path / "in.tif", numbers("uint16", 40, 40, 3), photometric="rgb", compression=compression)
    content = (tmp_path / "in.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=r"cut\.tif: damaged"):
        images.read(tmp_path / "cut.tif")


def test_flat_measurements_stay_that_value(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.full((3, 3), -1.25, np.float32))
    picture = images.read(tmp_path / "in.tif")
    assert (picture.samples.from_unit(picture.color) == np.float32(-1.25)).all()
    with pytest.raises(
        RunError, match=r"PNG cannot keep the image's values \(float32 from -1.25 to -1.25\); write TIFF"
    ):
        images.write(tmp_path / "out.png", picture)


def test_without_its_package_a_tiff_is_refused_and_the_package_named(tmp_path, monkeypatch):
    """Others would read it with a band, the sign or the place on the earth gone."""
    tifffile.imwrite(tmp_path / "in.tif", numbers("uint8", 5, 4))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    for what in (images.read, images.pixels):
        with pytest.raises(RunError, match=r"in\.tif: .* read with the package tifffile: install it"):
            what(tmp_path / "in.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_other_formats_are_decoded_whole_if_the_limit_allows(tmp_path, suffix):
    array = numbers("uint8", 30, 20, 3)
    Image.fromarray(array).save(tmp_path / f"in{suffix}")
    with images.reader(tmp_path / f"in{suffix}", memory_limit=8 * 30 * 20) as reader:
        whole = images.read(tmp_path / f"in{suffix}").color
        np.testing.assert_array_equal(all_windows(reader), whole)
        assert reader.resident == array.nbytes
    with pytest.raises(RunError, match="takes 0.00 GB, more than the memory limit of 0.00 GB; save it as PNG"):
        images.reader(tmp_path / f"in{suffix}", memory_limit=8 * 30 * 20 - 1)


@pytest.mark.parametrize("rows", [29, 31])
def test_wrong_number_of_rows_is_an_error_and_leaves_nothing(tmp_path, rows):
    with (
        pytest.raises(ValueError, match=f"{rows} rows were written of 30"),
        images.writer(tmp_path / "out.png", images.Header(30, 4)) as file,
    ):
        file.write(np.zeros((rows, 4, 3), np.float32))
    assert not list(tmp_path.iterdir())


def peak_of_a_copy(folder: Path, suffix: str, height: int) -> int:
    """Bytes that Python and NumPy held at the most while an image was copied window by window."""
    source, target = folder / f"in{height}{suffix}", folder / f"out{height}{suffix}"
    row = np.linspace(0, 1, 300 * 3, dtype=np.float32).reshape(1, 300, 3)
    with images.writer(source, images.Header(height, 300)) as file:
        for index in range(height):
            file.write(np.roll(row, index, axis=1))
    tracemalloc.start()
    with images.reader(source) as reader, images.writer(target, reader.header) as file:
        for top in range(0, height, 50):
            file.write(reader.window(max(top - 20, 0), min(top + 50, height), 0, 300)[min(top, 20) :])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(images.read(target).color, images.read(source).color)
    return peak


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_memory_does_not_follow_the_image(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(png_rows, "_BLOCK", 2**15)
    monkeypatch.setattr(png_rows, "_COMPRESSED", 2**15)
    monkeypatch.setattr(tiff_rows, "_STRIP", 2**15)
    monkeypatch.setattr(tiff_windows, "_KEPT", 2**17)
    small, large = peak_of_a_copy(tmp_path, suffix, 1000), peak_of_a_copy(tmp_path, suffix, 4000)
    assert large < 1.1 * small
