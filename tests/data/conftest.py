from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photo():
    """A smooth left half and a noisy right half, uint8 [H, W, 3]."""

    def make(height=48, width=64, seed=0):
        rows, columns = np.mgrid[0:height, 0:width]
        smooth = 60 + 100 * rows / height + 40 * columns / width
        image = np.repeat(smooth[..., None], 3, 2)
        noise = np.random.default_rng(seed).normal(0, 40, image.shape)
        noise[:, : width // 2] = 0
        return np.clip(image + noise + seed, 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def save():
    def write(path, image, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, **options)
        return path

    return write


@pytest.fixture(autouse=True)
def cache_place(tmp_path, monkeypatch):
    place = tmp_path / "cache"
    monkeypatch.setenv("AWSRN_FAST_CACHE", str(place))
    return place
