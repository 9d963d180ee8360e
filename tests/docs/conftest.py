"""A folder with what the pages' commands take as given: photographs, sets, scans, a trained network."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from pydicom.data import get_testdata_file

import awsrn_fast
from awsrn_fast.data import sample_folder

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"scans/chest": 1, "archive/2024": 2, "photos": 2, "validation": 1, "DIV2K/DIV2K_train_HR": 2}
FOLDERS |= {"DIV2K/DIV2K_valid_HR": 1, "Set5/HR": 1, "B100/HR": 1, "Urban100/HR": 1}
LARGE = 256  # of training images: the discriminator of stage G judges 192x192
SMALL = 96


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that may be given, by the names that the pages use."""
    folder = tmp_path_factory.mktemp("given")
    whole = np.asarray(Image.open(sample_folder() / "train" / "raccoon.jpg"))

    def cut(name: str, index: int, side: int) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(whole[100 + 40 * index :, 200 + 60 * index :][:side, :side]).save(path)

    for name, count in FOLDERS.items():
        side = LARGE if name in ("photos", "DIV2K/DIV2K_train_HR") else SMALL
        for i in range(count):
            cut(f"{name}/{i + 1:04}.png", i, side)
    cut("photo.jpg", 3, SMALL)
    cut("photo.png", 4, SMALL)
    shutil.copy(sample_folder() / "valid" / "astronaut.png", folder)
    torch.save(awsrn_fast.AWSRN(scale=4).state_dict(), folder / "AWSRN_x4.pth")
    bundled = Path(awsrn_fast.__file__).parent / "weights" / "improved-s-x4.safetensors"
    (folder / "study").mkdir()
    for sample, name in (("CT_small.dcm", "slice.dcm"), ("MR_small.dcm", "study/IM0001")):
        shutil.copy(get_testdata_file(sample, download=False), folder / name)
    shape = {"count": 4, "height": 40, "width": 32, "dtype": "uint16"}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
    with rasterio.open(folder / "scene.tif", "w", driver="GTiff", **shape, **place) as file:
        file.write(np.stack([whole[:40, :32, band % 3].astype(np.uint16) * 30 for band in range(4)]))
    with av.open(str(folder / "clip.mp4"), "w") as film:
        pictures = film.add_stream("libx264", rate=25)
        pictures.height, pictures.width, pictures.pix_fmt = 32, 48, "yuv420p"
        for left in range(3):
            cut_out = np.ascontiguousarray(whole[:32, left : left + 48])
            film.mux(pictures.encode(av.VideoFrame.from_ndarray(cut_out, format="rgb24")))
        film.mux(pictures.encode(None))
    (folder / "runs" / "given").mkdir(parents=True)
    shutil.copy(bundled, folder / "runs" / "given" / "best.safetensors")
    return folder


@pytest.fixture
def workplace(given: Path, tmp_path: Path) -> Path:
    """A copy of :func:`given`, beside the checkout's folders that commands name."""
    folder = tmp_path / "workplace"
    shutil.copytree(given, folder)
    for name in ("benchmarks", "examples"):
        if (ROOT / name).is_dir():
            (folder / name).symlink_to(ROOT / name)
    return folder
