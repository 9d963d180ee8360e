"""Satellite rasters through the command: places on the map, bands, gaps, and files that are damaged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from awsrn_fast.data import sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.raster.kind import is_raster
from awsrn_fast.raster.options import bands

rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
from rasterio import Affine  # noqa: E402
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.rpc import RPC  # noqa: E402
from rasterio.warp import transform as to_crs  # noqa: E402

SIZE = (24, 20)
PLACES = {
    "EPSG:32633": Affine(10, 0, 399960, 0, -10, 5000040),
    "EPSG:4326": Affine(1 / 3600, 0, 10.25, 0, -1 / 1800, 46.5),
    "EPSG:3857": Affine(7, 1.5, 1113194.9, 2.5, -9, 6446275.8),  # turned and sheared
    "EPSG:3413": Affine(-12.5, 0, 250000, 0, 12.5, -1900000),  # polar, upside down
}


def photograph(count: int = 3, dtype: str = "uint8") -> np.ndarray:
    """[count, H, W] of an embedded photograph; further bands are others of its colours."""
    whole = np.asarray(Image.open(sample_folder() / "train" / "raccoon.jpg"))[300 : 300 + SIZE[0], 400 : 400 + SIZE[1]]
    values = np.stack([whole[..., band % 3] for band in range(count)]).astype(np.float64)
    if dtype == "uint8":
        return values.astype(dtype)
    return (values * 30 + 200).astype(dtype)


def save(path: Path, values: np.ndarray, crs: str = "EPSG:32633", **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": crs,
        "transform": PLACES.get(crs),
    } | more
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    return path


@pytest.mark.parametrize("crs", PLACES)
@pytest.mark.parametrize("options", [(), ("--outscale", 1.5)])
def test_a_point_keeps_its_place_on_the_map(tmp_path, upscale, crs, options):
    source = save(tmp_path / "a.tif", photograph(1), crs)
    assert upscale(source, "-o", tmp_path / "b.tif", *options) == 0
    with rasterio.open(source) as small, rasterio.open(tmp_path / "b.tif") as large:
        assert large.crs == small.crs
        down, across = large.height / small.height, large.width / small.width
        for row, column in ((0, 0), (SIZE[0], SIZE[1]), (3.5, 11.25)):
            before, after = small.transform * (column, row), large.transform * (column * across, row * down)
            assert after == pytest.approx(before, rel=1e-12)
            assert np.allclose(*(to_crs(crs, "EPSG:4326", [x], [y]) for x, y in (before, after)), rtol=0, atol=1e-9)
        assert np.allclose(small.bounds, large.bounds, rtol=1e-12)


def test_points_that_are_counted_at_centres(tmp_path, upscale):
    source = save(tmp_path / "a.tif", photograph(1))
    with rasterio.open(source, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    assert upscale(source, "-o", tmp_path / "b.tif") == 0
    with rasterio.open(source) as small, rasterio.open(tmp_path / "b.tif") as large:
        assert large.tags()["AREA_OR_POINT"] == "Point" and np.allclose(small.bounds, large.bounds, rtol=1e-12)


def test_control_points_and_polynomials(tmp_path, upscale):
    source = save(tmp_path / "a.tif", photograph(1), crs=None, transform=None)
    points = [GroundControlPoint(row, column, 10 + column, 50 - row, 3.0) for row, column in ((0, 0), (24, 3), (5, 20))]
    with rasterio.open(source, "r+") as file:
        file.gcps = (points, rasterio.CRS.from_epsg(4326))
    assert upscale(source, "-o", tmp_path / "b.tif") == 0
    with rasterio.open(tmp_path / "b.tif") as large:
        moved, crs = large.gcps
        assert crs.to_epsg() == 4326
        assert [(at.row, at.col, at.x, at.y, at.z) for at in moved] == [
            (2 * at.row, 2 * at.col, at.x, at.y, at.z) for at in points
        ]
    numbers = [float(number) for number in range(20)]
    source = save(
        tmp_path / "c.tif",
        photograph(1),
        crs=None,
        transform=None,
        rpcs=RPC(
            100.0, 50.0, 10.0, 1.0, numbers, numbers, 11.5, 12.0, 46.0, 1.0, numbers, numbers, 9.5, 10.0, None, None
        ),
    )
    assert upscale(source, "-o", tmp_path / "d.tif") == 0
    with rasterio.open(tmp_path / "d.tif") as large:
        # A line is the centre of its pixel: the middle of lines 11 and 12 is that of lines 23 and 24.
        assert (large.rpcs.line_off, large.rpcs.samp_off) == (23.5, 19.5)
        assert (large.rpcs.line_scale, large.rpcs.samp_scale, large.rpcs.lat_off) == (24, 20, 10)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_many_bands_of_every_type(tmp_path, upscale, dtype):
    values = photograph(5, dtype)
    source = save(tmp_path / "a.tif", values)
    with rasterio.open(source, "r+") as file:
        for band in range(1, 6):
            file.set_band_description(band, f"B{band:02}")
            file.update_tags(band, WAVELENGTH=str(400 + band))
        file.scales, file.offsets = [0.0001] * 5, [-0.1] * 5
        file.set_band_unit(2, "reflectance")
        file.update_tags(MISSION="none", STATISTICS_MEAN="5")
    assert upscale(source, "-o", tmp_path / "b.tif") == 0
    with rasterio.open(tmp_path / "b.tif") as large:
        got = large.read()
        assert large.descriptions == ("B01", "B02", "B03", "B04", "B05") and large.units[1] == "reflectance"
        assert large.scales == (0.0001,) * 5 and large.offsets == (-0.1,) * 5
        assert large.tags(3)["WAVELENGTH"] == "403" and large.tags()["MISSION"] == "none"
        assert "STATISTICS_MEAN" not in large.tags() and large.dtypes == (dtype,) * 5
        assert large.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert got.min() >= values.min() or dtype == "uint8"
    shrunk = got.reshape(5, SIZE[0], 2, SIZE[1], 2).astype(float).mean(axis=(2, 4))
    span = float(values.max()) - float(values.min())
    assert np.abs(shrunk - values).mean() < 0.03 * span


def test_colours_go_through_the_network_together(tmp_path, upscale):
    source = save(tmp_path / "a.tif", photograph(4), photometric="RGB")
    Image.fromarray(photograph().transpose(1, 2, 0)).save(tmp_path / "same.png")
    assert upscale(source, "-o", tmp_path / "b.tif") == 0
    assert upscale(tmp_path / "same.png", "-o", tmp_path / "same2.png") == 0
    with rasterio.open(tmp_path / "b.tif") as large:
        np.testing.assert_array_equal(large.read([1, 2, 3]).transpose(1, 2, 0), Image.open(tmp_path / "same2.png"))
        assert large.colorinterp[:3] == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_chosen_bands(tmp_path, upscale, capsys):
    values = photograph(5, "uint16")
    values[4] += 5000
    source = save(tmp_path / "a.tif", values)
    with rasterio.open(source, "r+") as file:
        file.descriptions = [f"B{band}" for band in range(1, 6)]
    assert upscale(source, "-o", tmp_path / "b.tif", "--bands", "3,2,1/5") == 0
    with rasterio.open(tmp_path / "b.tif") as large:
        assert large.descriptions == ("B3", "B2", "B1", "B5") and large.read(4).min() >= values[4].min()
    assert upscale(source, "-o", tmp_path / "c.tif", "--bands", "6") == 1
    assert "--bands names band 6, the raster has 5" in capsys.readouterr().err
    assert bands("4,3,2/8") == ((4, 3, 2), (8,))
    for wrong in ("1,2", "0", "1/1", "x", ""):
        with pytest.raises(UserError, match="bands"):
            upscale(source, "-o", tmp_path / "d.tif", "--bands", wrong)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int16", -32768), ("uint16", 0), ("float32", np.nan), ("float32", -1e4)]
)
def test_no_data_stays_no_data_and_nothing_becomes_it(tmp_path, upscale, dtype, nodata):
    values = photograph(1, dtype)
    values[0, 6:12, 5:13] = nodata
    source = save(tmp_path / "a.tif", values, nodata=nodata)
    assert upscale(source, "-o", tmp_path / "b.tif", "--tile", 8) == 0
    with rasterio.open(source) as small, rasterio.open(tmp_path / "b.tif") as large:
        expected = small.read_masks(1).repeat(2, 0).repeat(2, 1)
        wrong = (large.read_masks(1) > 0) != (expected > 0)
        assert wrong.mean() < 0.02 and not wrong[16:20, 14:22].any()  # bicubic moves corners of the gap by a pixel
        assert str(large.nodata) == str(small.nodata)
        known = large.read(1, masked=True).compressed()
        assert known.min() >= values[0][expected[::2, ::2] > 0].min()


def test_masks_and_transparency(tmp_path, upscale):
    there = np.ones(SIZE, bool)
    there[:8] = False
    source = save(tmp_path / "a.tif", photograph(2, "uint16"))
    with rasterio.open(source, "r+") as file:
        file.write_mask(there)
    rgba = np.concatenate((photograph(), np.where(there, 255, 0).astype(np.uint8)[None]))
    transparent = save(tmp_path / "c.tif", rgba, photometric="RGB", alpha="YES")
    assert upscale(source, "-o", tmp_path / "b.tif") == 0 and upscale(transparent, "-o", tmp_path / "d.tif") == 0
    with rasterio.open(tmp_path / "b.tif") as large, rasterio.open(tmp_path / "d.tif") as other:
        np.testing.assert_array_equal(large.dataset_mask() > 0, there.repeat(2, 0).repeat(2, 1))
        assert large.count == 2 and other.colorinterp[3] == ColorInterp.alpha
        np.testing.assert_array_equal(other.read(4) > 127, there.repeat(2, 0).repeat(2, 1))


def test_bands_whose_gaps_differ_keep_theirs(tmp_path, upscale, capsys):
    values = photograph(3, "int16")
    values[0, :6] = values[2, 12:] = -1
    source = save(tmp_path / "a.tif", values, nodata=-1, photometric="RGB")
    assert upscale(source, "-o", tmp_path / "b.tif") == 0
    assert "bands 1, 2, 3, whose gaps differ" in capsys.readouterr().err
    with rasterio.open(tmp_path / "b.tif") as large:
        np.testing.assert_array_equal(large.read() == -1, (values == -1).repeat(2, 1).repeat(2, 2))


def test_tiles_and_windows_of_a_vrt_give_the_whole_picture(tmp_path, upscale):
    values = np.tile(photograph(2, "uint16"), (1, 4, 4))
    source = save(tmp_path / "a.tif", values, tiled=True, blockxsize=16, blockysize=16)
    vrt = tmp_path / "all.vrt"
    vrt.write_text(VRT.format(width=values.shape[2], height=values.shape[1]))
    assert upscale(source, "-o", tmp_path / "whole.tif", "--tile", 0) == 0
    assert upscale(vrt, "-o", tmp_path / "tiles.tif", "--tile", 16) == 0
    with rasterio.open(tmp_path / "whole.tif") as whole, rasterio.open(tmp_path / "tiles.tif") as tiles:
        first, second = whole.read(1).astype(int), tiles.read(1).astype(int)
        assert np.abs(first - second).max() <= 1
        assert whole.overviews(1) == [] and whole.block_shapes[0] == (256, 256)


VRT = """<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><VRTRasterBand dataType="UInt16" band="1">
<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand></VRTDataset>"""


def test_large_results_have_overviews(tmp_path, upscale):
    source = save(tmp_path / "a.tif", np.tile(photograph(1), (1, 14, 14)))
    assert upscale(source, "-o", tmp_path / "b.tif") == 0
    with rasterio.open(tmp_path / "b.tif") as large:
        assert large.overviews(1)[0] == 2


def test_what_is_a_raster(tmp_path, upscale, monkeypatch):
    geo = save(tmp_path / "a.tif", photograph(1))
    Image.new("RGB", (8, 8)).save(tmp_path / "b.tif")
    assert is_raster(geo) and not is_raster(tmp_path / "b.tif")
    assert is_raster(save(tmp_path / "c.tif", photograph(6), crs=None, transform=None))
    assert upscale(geo, "-o", tmp_path / "d.png") == 0 and upscale(geo, "--format", "jpeg") == 0
    assert Image.open(tmp_path / "d.png").size == (40, 48) and (tmp_path / "a_x2.jpg").exists()
    monkeypatch.setattr("awsrn_fast.raster.kind.find_spec", lambda name: None)
    assert not is_raster(geo) and upscale(geo, "-o", tmp_path / "e.tif") == 0  # as an image, with its georeference


def test_damaged_and_refused_files_end_in_one_sentence(tmp_path, upscale, capsys):
    whole = save(tmp_path / "whole.tif", photograph(6), compress="deflate").read_bytes()
    found = {"cut.tif": (whole[:-3000], "damaged"), "head.tif": (whole[:200], "damaged")}
    found["net.vrt"] = (VRT.replace("a.tif", "/vsicurl/http://x/y.tif").format(width=9, height=9).encode(), "elsewhere")
    found["gone.vrt"] = (VRT.replace("a.tif", "gone.tif").format(width=9, height=9).encode(), "damaged")
    found["huge.vrt"] = (VRT.format(width=10**6, height=10**6).encode(), "--max-pixels")
    for name, (data, _) in found.items():
        (tmp_path / name).write_bytes(data)
    save(tmp_path / "complex.tif", photograph(1).astype(np.complex64))
    found["complex.tif"] = (b"", "is not supported")
    assert upscale(*(tmp_path / name for name in found), "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    for name, (_, message) in found.items():
        lines = [line for line in said if line.startswith("failed: ") and f"/{name}:" in line]
        assert len(lines) == 1 and message in lines[0], (name, said)
    assert not list((tmp_path / "out").glob("*"))


def test_random_damage_never_ends_otherwise(tmp_path, upscale):
    rng = np.random.default_rng(3)
    whole = save(tmp_path / "a.tif", photograph(6), compress="lzw").read_bytes()
    for number in range(30):
        data = bytearray(whole)
        for place in rng.integers(8, len(data), 5):
            data[place] = rng.integers(256)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{number}.tif").write_bytes(data)
    assert upscale(tmp_path / "in", "-o", tmp_path / "out", "--max-pixels", 10**5) in (0, 1)


def test_a_missing_extra_is_said(tmp_path, upscale, monkeypatch, capsys):
    (tmp_path / "a.vrt").write_text(VRT.format(width=9, height=9))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert upscale(tmp_path / "a.vrt", "-o", tmp_path / "b.tif") == 1
    assert "pip install '.[geo]'" in capsys.readouterr().err
