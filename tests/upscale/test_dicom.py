"""DICOM through the command: values, geometry, identity, and files that are damaged or no pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from awsrn_fast.dicom.kind import is_dicom
from awsrn_fast.dicom.stored import Stored
from awsrn_fast.errors import UserError

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402

SIZE = (12, 10)


@pytest.fixture(autouse=True)
def no_series_of_other_tests() -> None:
    from awsrn_fast.dicom import series

    series._members.cache_clear()
    series._range_of_files.cache_clear()


def sample(name: str) -> Path:
    return Path(get_testdata_file(name, download=False))


def picture(seed: int = 1, low: int = -900, high: int = 1100) -> np.ndarray:
    values = np.random.default_rng(seed).integers(low, high + 1, SIZE).astype(np.int16)
    values[0, :2] = low, high
    return values


def slice_of(values: np.ndarray, **changes: object) -> Dataset:
    """pydicom's own CT slice with other pixels."""
    made = pydicom.dcmread(sample("CT_small.dcm"))
    made.Rows, made.Columns = values.shape[:2]
    for name, value in changes.items():
        setattr(made, name, value)
    made.PixelData = values.tobytes()
    return made


def save(made: Dataset, path: Path) -> Path:
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path


def place(header: Dataset, row: float, column: float) -> np.ndarray:
    """Patient coordinates of a point, in pixels from the image's upper left corner (PS3.3, equation C.7.6.2.1-1)."""
    rows, columns = map(float, header.PixelSpacing)
    x, y = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    return np.array(header.ImagePositionPatient, float) + x * columns * (column - 0.5) + y * rows * (row - 0.5)


def oblique(seed: int) -> list[float]:
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return [round(float(value), 12) for value in turned[:2].ravel()]


@pytest.mark.parametrize("options", [(), ("--outscale", 1.5), ("--width", 13, "--height", 24)])
@pytest.mark.parametrize("seed", range(3))
def test_a_point_keeps_its_place_in_the_patient(tmp_path, upscale, options, seed):
    made = slice_of(
        picture(),
        ImageOrientationPatient=oblique(seed),
        PixelSpacing=["0.48828125", "0.7031"],
        ImagePositionPatient=["-158.135803", "1179.035797", "-75.699997"],
    )
    source = save(made, tmp_path / "a.dcm")
    assert upscale(source, "-o", tmp_path / "b.dcm", *options) == 0
    large = pydicom.dcmread(tmp_path / "b.dcm")
    down, across = large.Rows / SIZE[0], large.Columns / SIZE[1]
    for row, column in ((0, 0), (0, SIZE[1]), (SIZE[0], 0), SIZE, (4.25, 7.5)):
        moved = place(large, row * down, column * across) - place(made, row, column)
        assert np.abs(moved).max() < 1e-6
    assert large.FrameOfReferenceUID == made.FrameOfReferenceUID and large.SliceThickness == made.SliceThickness


def enhanced(frames: int = 3) -> Dataset:
    """An enhanced CT: positions of the frames apart, orientation and spacing shared."""
    values = np.stack([picture(seed) for seed in range(frames)])
    made = slice_of(values[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=frames)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.PixelData = values.tobytes()
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = ["0.5", "0.75"], oblique(5)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for number in range(frames):
        group, position, kind = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [str(-10.5 + number), "20.25", str(3 * number)]
        kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        group.PlanePositionSequence, group.CTImageFrameTypeSequence = [position], [kind]
        made.PerFrameFunctionalGroupsSequence.append(group)
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(made, name)
    return made


def of_frame(header: Dataset, number: int) -> Dataset:
    shared, group, flat = header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence, Dataset()
    flat.update(shared.PixelMeasuresSequence[0])
    flat.update(shared.PlaneOrientationSequence[0])
    flat.update(group[number].PlanePositionSequence[0])
    return flat


def test_functional_groups_of_many_frames(tmp_path, upscale):
    made = enhanced()
    source = save(made, tmp_path / "a.dcm")
    assert upscale(source, "-o", tmp_path / "b.dcm") == 0
    large = pydicom.dcmread(tmp_path / "b.dcm")
    assert large.pixel_array.shape == (3, 24, 20) and large.NumberOfFrames == 3
    for number, group in enumerate(large.PerFrameFunctionalGroupsSequence):
        for row, column in ((0, 0), SIZE):
            moved = place(of_frame(large, number), 2 * row, 2 * column) - place(of_frame(made, number), row, column)
            assert np.abs(moved).max() < 1e-6
        (derivation,) = group.DerivationImageSequence
        assert derivation.SourceImageSequence[0].ReferencedSOPInstanceUID == made.SOPInstanceUID
        assert derivation.SourceImageSequence[0].ReferencedFrameNumber == number + 1
        assert group.CTImageFrameTypeSequence[0].FrameType[:2] == ["DERIVED", "SECONDARY"]


@pytest.mark.parametrize(("bits", "signed"), [(16, True), (16, False), (12, False), (12, True), (8, False)])
@pytest.mark.parametrize("inverted", [False, True])
def test_every_stored_value_comes_back(bits, signed, inverted):
    stored = Stored(bits, signed, 16 if bits > 8 else 8, inverted)
    low, high = stored.declared
    stored = Stored(bits, signed, stored.allocated, inverted, None, low, high)
    numbers = np.arange(low, high + 1).astype(stored.dtype).reshape(-1, 1, 1)
    unit = stored.to_unit(numbers, padded=False)
    assert unit.min() == 0 and unit.max() == 1 and len(np.unique(unit)) == len(numbers)
    np.testing.assert_array_equal(stored.from_unit(unit, padded=False), numbers)


def test_measurements_are_not_cut_to_bytes(tmp_path, upscale):
    ramp = np.tile(np.arange(-1000, -1000 + 3 * 64, 3, dtype=np.int16), (12, 1))
    source = save(slice_of(ramp, RescaleIntercept="-24", WindowCenter="-940", WindowWidth="60"), tmp_path / "a.dcm")
    assert upscale(source, "-o", tmp_path / "b.dcm") == 0
    large = pydicom.dcmread(tmp_path / "b.dcm")
    values = large.pixel_array
    assert values.dtype == np.int16 and len(np.unique(values)) > 120
    assert values.min() == -1000 and values.max() == ramp.max()
    inner = values[:, 16:-16].reshape(12, 2, -1, 2).mean(axis=(1, 3)) - ramp[:, 8:-8]
    assert np.abs(inner).max() <= 1
    assert (large.RescaleIntercept, large.WindowCenter, large.WindowWidth) == (-24, -940, 60)
    assert (large.BitsStored, large.HighBit, large.PixelRepresentation) == (16, 15, 1)


def test_black_and_white_exchanged_is_the_same_picture(tmp_path, upscale):
    values = picture()
    for name, kind, shown in (("a", "MONOCHROME2", values), ("b", "MONOCHROME1", (200 - values).astype(np.int16))):
        source = save(slice_of(shown, PhotometricInterpretation=kind), tmp_path / f"{name}.dcm")
        assert upscale(source, "-o", tmp_path / f"{name}2.dcm") == 0
    first, second = (pydicom.dcmread(tmp_path / f"{name}2.dcm") for name in "ab")
    assert second.PhotometricInterpretation == "MONOCHROME1"
    assert np.abs(200 - second.pixel_array.astype(int) - first.pixel_array).max() <= 1


def test_padding_stays_padding_and_nothing_becomes_it(tmp_path, upscale):
    values = picture(low=-2010, high=-1990)
    values[values == -2000] = -1999
    values[3:7, 4:8] = -2000
    source = save(slice_of(values, PixelPaddingValue=-2000), tmp_path / "a.dcm")
    assert upscale(source, "-o", tmp_path / "b.dcm") == 0
    large = pydicom.dcmread(tmp_path / "b.dcm").pixel_array
    expected = (values == -2000).repeat(2, 0).repeat(2, 1)
    assert (large == -2000).sum() == expected.sum() and (large[8:12, 10:14] == -2000).all()


def test_colours_of_every_kind(tmp_path, upscale):
    for name in ("SC_rgb_small_odd.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"):
        assert upscale(sample(name), "-o", tmp_path / name) == 0
        large = pydicom.dcmread(tmp_path / name)
        small = pydicom.pixel_array(sample(name))
        assert large.PhotometricInterpretation == "RGB" and large.SamplesPerPixel == 3
        got, top = large.pixel_array, np.iinfo(small.dtype).max
        assert got.dtype == small.dtype and got.shape == (2 * small.shape[0], 2 * small.shape[1], 3)
        shrunk = got.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean(axis=(1, 3))
        assert np.abs(shrunk - small).mean() < 0.03 * top
    Image.fromarray(pydicom.pixel_array(sample("SC_rgb_small_odd.dcm"))).save(tmp_path / "same.png")
    assert upscale(tmp_path / "same.png", "-o", tmp_path / "same_large.png") == 0
    as_dicom = pydicom.dcmread(tmp_path / "SC_rgb_small_odd.dcm").pixel_array
    np.testing.assert_array_equal(as_dicom, np.asarray(Image.open(tmp_path / "same_large.png")))


def test_a_palette_becomes_colours(tmp_path, upscale):
    made = pydicom.dcmread(sample("examples_palette.dcm"))
    values = made.pixel_array[100:112, 200:210].copy()
    made.Rows, made.Columns, made.PixelData = *values.shape, values.tobytes()
    assert upscale(save(made, tmp_path / "a.dcm"), "-o", tmp_path / "b.dcm") == 0
    large = pydicom.dcmread(tmp_path / "b.dcm")
    assert large.PhotometricInterpretation == "RGB" and large.pixel_array.shape == (24, 20, 3)
    assert not [each for each in large if "Palette" in each.keyword]


SYNTAXES = (
    "MR_small_RLE",
    "MR_small_bigendian",
    "MR_small_expb",
    "MR_small_implicit",
    "MR_small_jp2klossless",
    "MR_small_jpeg_ls_lossless",
    "MR_small_padded",
)


def test_every_transfer_syntax_gives_the_same_picture(tmp_path, upscale):
    names = [f"{name}.dcm" for name in ("MR_small", *SYNTAXES)]
    assert upscale(*map(sample, names), "-o", tmp_path / "out") == 0
    expected = pydicom.dcmread(tmp_path / "out/MR_small.dcm")
    for name in names:
        large = pydicom.dcmread(tmp_path / "out" / name)
        assert large.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        np.testing.assert_array_equal(large.pixel_array, expected.pixel_array)


def series(folder: Path) -> list[Path]:
    paths = []
    for number, (low, high) in enumerate(((0, 100), (-500, 50), (20, 900))):
        made = slice_of(
            picture(number, low, high),
            SOPInstanceUID=f"1.2.3.{number}",
            InstanceNumber=number,
            ImagePositionPatient=[0, 0, 5 * number],
        )
        paths.append(save(made, folder / f"IM{number:04}"))  # without a suffix, as on discs
    return paths


def test_a_series_becomes_a_series(tmp_path, upscale, capsys):
    series(tmp_path / "in")
    (tmp_path / "in/readme.txt").write_text("x")
    shutil.copy(get_testdata_file("DICOMDIR", download=False), tmp_path / "in")
    assert upscale(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert "left out: 1 .txt, 1 without a suffix" in capsys.readouterr().err
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").iterdir())]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["IM0000", "IM0001", "IM0002"]
    assert len({each.SeriesInstanceUID for each in slices}) == 1
    assert slices[0].SeriesInstanceUID != pydicom.dcmread(tmp_path / "in/IM0000").SeriesInstanceUID
    assert len({each.SOPInstanceUID for each in slices}) == 3
    for number, each in enumerate(slices):
        assert each.SOPInstanceUID == each.file_meta.MediaStorageSOPInstanceUID
        assert each.SourceImageSequence[-1].ReferencedSOPInstanceUID == f"1.2.3.{number}"
        assert "values -500 to 900 as 0 to 1" in each.DerivationDescription
        assert "not for diagnosis" in each.DerivationDescription and each.ImageType[0] == "DERIVED"


def test_parts_of_a_series_fit_together(tmp_path, upscale):
    series(tmp_path / "in")
    assert upscale(tmp_path / "in", "-o", tmp_path / "whole") == 0
    for part in ("1/2", "2/2"):
        assert upscale(tmp_path / "in", "-o", tmp_path / "parts", "--shard", part, "--resume") == 0
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes()
    assert upscale(tmp_path / "in/IM0001", "-o", tmp_path / "other.dcm", "--outscale", 1.5) == 0
    other, same = (pydicom.dcmread(tmp_path / name) for name in ("other.dcm", "whole/IM0001"))
    assert other.SOPInstanceUID != same.SOPInstanceUID and other.SeriesInstanceUID != same.SeriesInstanceUID


def test_pixel_positions_in_the_header_follow(tmp_path, upscale):
    made = pydicom.dcmread(sample("examples_ybr_color.dcm"))
    region = made.SequenceOfUltrasoundRegions[0]
    region.ReferencePixelX0, region.ReferencePixelPhysicalValueX = 10, 1.5
    values = np.zeros((*SIZE, 3), np.uint8)
    made.Rows, made.Columns, made.NumberOfFrames, made.PixelData = *SIZE, 1, values.tobytes()
    made.PhotometricInterpretation = "RGB"
    made.ShutterLeftVerticalEdge, made.ImagerPixelSpacing = 3, ["0.2", "0.1"]
    made.add_new(0x60000010, "US", SIZE[0])
    made.add_new(0x60000011, "US", SIZE[1])
    made.add_new(0x60000040, "CS", "G")
    made.add_new(0x60000050, "SS", [1, 1])
    made.add_new(0x60000100, "US", 1)
    made.add_new(0x60000102, "US", 0)
    drawn = np.random.default_rng(2).integers(0, 2, SIZE).astype(np.uint8)
    made.add_new(0x60003000, "OW", np.packbits(drawn, bitorder="little").tobytes() + b"\0")
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    assert upscale(save(made, tmp_path / "a.dcm"), "-o", tmp_path / "b.dcm") == 0
    large = pydicom.dcmread(tmp_path / "b.dcm")
    moved = large.SequenceOfUltrasoundRegions[0]
    assert (moved.RegionLocationMinX0, moved.RegionLocationMaxX1) == (168, 1191)
    assert moved.PhysicalDeltaX == pytest.approx(region.PhysicalDeltaX / 2)

    def value(of: Dataset, x: float) -> float:
        """At x pixels from the image's left edge."""
        return of.ReferencePixelPhysicalValueX + (x - 0.5 - of.ReferencePixelX0) * of.PhysicalDeltaX

    assert value(moved, 14) == pytest.approx(value(region, 7), abs=1e-9)
    assert large.ShutterLeftVerticalEdge in (5, 6) and list(large.ImagerPixelSpacing) == [0.1, 0.05]
    np.testing.assert_array_equal(large.overlay_array(0x6000), drawn.repeat(2, 0).repeat(2, 1))


def test_results_are_valid(tmp_path, upscale, monkeypatch):
    """By pydicom's own validation of every value; nothing new to complain of for dciodvfy, where it is installed."""
    names = ("CT_small.dcm", "MR_small_expb.dcm", "SC_rgb_small_odd.dcm", "JPEGLSNearLossless_08.dcm")
    assert upscale(*map(sample, names), "-o", tmp_path) == 0
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for name in names:
        large = pydicom.dcmread(tmp_path / name)
        for element in large.iterall():
            str(element)
        pydicom.dataset.validate_file_meta(large.file_meta, enforce_standard=True)
    assert pydicom.dcmread(tmp_path / names[3]).LossyImageCompression == "01"
    if shutil.which("dciodvfy") is None:
        pytest.skip("pydicom finds nothing; dciodvfy (Debian's dicom3tools) is not installed")
    for name in names:
        assert complaints(tmp_path / name) <= complaints(sample(name))


def complaints(path: Path) -> set[str]:
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    return {line.split(" is <")[0] for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")}


def damaged(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    made = slice_of(picture())
    whole = save(made, tmp_path / "whole.dcm").read_bytes()
    found = {}

    def add(name: str, data: bytes, message: str) -> None:
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data)
        found[name] = (path, message)

    pixels = whole.rindex(b"\xe0\x7f\x10\0")
    add("truncated", whole[: pixels + 200], "damaged")
    add("no pixels", whole[:pixels], "damaged")
    add("frames", save(slice_of(picture(), NumberOfFrames=2**31 - 1), tmp_path / "f").read_bytes(), "damaged")
    add("rows", save(slice_of(picture(), Rows=60000, Columns=60000), tmp_path / "r").read_bytes(), "is more than")
    add("32 bits", save(slice_of(picture(), BitsAllocated=32), tmp_path / "b").read_bytes(), "is not supported")
    j2k = sample("MR_small_jp2klossless.dcm").read_bytes()
    at = j2k.index(b"\xff\x4f\xff\x51") + 8
    add("codestream", j2k[:at] + b"\0\xff\xff\xff" + j2k[at + 4 :], "is compressed as")
    deflated = sample("image_dfl.dcm").read_bytes()
    start = 132 + 12 + int.from_bytes(deflated[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(2)) + packer.flush()
    add("bomb", deflated[:start] + bomb, "which is not inflated")
    for name, message in (("reportsi", "DICOM without an image"), ("liver_1frame", "labels")):
        add(name, sample(f"{name}.dcm").read_bytes(), message)
    return found


def test_damaged_files_and_no_pictures_end_in_one_sentence(tmp_path, upscale, monkeypatch, capsys):
    monkeypatch.setattr("awsrn_fast.dicom.reading._MOST_DEFLATED", 2**22)
    found = damaged(tmp_path)
    assert upscale(*(path for path, _ in found.values()), "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    for path, message in found.values():
        lines = [line for line in said if line.startswith("failed: ") and f"/{path.name}:" in line]
        assert len(lines) == 1 and message in lines[0], (path, lines)
    assert not list((tmp_path / "out").glob("*"))


def test_random_damage_never_ends_otherwise(tmp_path, upscale):
    rng = np.random.default_rng(7)
    wholes = [save(slice_of(picture()), tmp_path / "a.dcm").read_bytes(), sample("MR_small_RLE.dcm").read_bytes()]
    paths = []
    for number in range(40):
        data = bytearray(wholes[number % 2])
        for place_of in rng.integers(132, len(data), 6):
            data[place_of] = rng.integers(256)
        paths.append(tmp_path / f"in/{number}.dcm")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(data[: rng.integers(200, len(data))] if number % 4 == 0 else data)
    assert upscale(*paths, "-o", tmp_path / "out", "--max-pixels", 10**5) in (0, 1)


def test_wrong_usage(tmp_path, upscale, monkeypatch, capsys):
    source = save(slice_of(picture()), tmp_path / "a.dcm")
    with pytest.raises(UserError, match="--format png is for images, and .*a.dcm is DICOM"):
        upscale(source, "--format", "png")
    with pytest.raises(UserError, match="the suffix must be one of .dcm .dicom .ima"):
        upscale(source, "-o", tmp_path / "b.png")
    assert upscale(source) == 0 and (tmp_path / "a_x2.dcm").exists()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert upscale(source, "-o", tmp_path / "c.dcm") == 1
    assert "pip install '.[dicom]'" in capsys.readouterr().err


def test_files_are_recognised_by_their_contents(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM at all")
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(save(slice_of(picture()), tmp_path / "b").read_bytes()[132:])
    assert [is_dicom(path) for path in (tmp_path / "a.dcm", bare, tmp_path / "b")] == [False, True, True]
