from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from awsrn_fast.data.resize import crop_to_multiple, downscale, upscale
from awsrn_fast.errors import UserError


def _read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def _noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _imresize(image, factor, border):
    """MATLAB's imresize written from its definition, one output row at a time, fp64, rounded after each pass."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    def rows(values):
        size = values.shape[0]
        stretch = min(factor, 1.0)
        out = np.zeros((round(size * factor), *values.shape[1:]))
        for i in range(out.shape[0]):
            centre = (i + 0.5) / factor - 0.5
            reach = int(np.ceil(2 / stretch)) + 1
            taps = np.arange(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1)
            weights = np.array([cubic(stretch * (centre - t)) for t in taps])
            if border == "edge":
                taps = taps.clip(0, size - 1)
            else:
                taps = np.r_[0:size, size - 1 : -1 : -1][taps % (2 * size)]
            out[i] = np.tensordot(weights / weights.sum(), values[taps], 1)
        return np.floor(out.clip(0, 255) + 0.5 + 1e-9)

    return rows(rows(image.astype(np.float64)).swapaxes(0, 1)).swapaxes(0, 1).astype(np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_lr_is_bit_exact_with_the_official_set5_files(shared_data, scale):
    files = sorted((shared_data / "Set5/HR").glob("*.png"))
    assert len(files) == 5
    for file in files:
        official = _read(shared_data / f"Set5/LR_bicubic/X{scale}/{file.stem}x{scale}.png")
        np.testing.assert_array_equal(downscale(crop_to_multiple(_read(file), scale), scale), official)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 7), (5, 3)])
def test_downscale_follows_the_definition(scale, rows, columns):
    image = _noise(rows * scale, columns * scale)
    expected = _imresize(image, 1 / scale, "edge" if scale == 8 else "symmetric")
    np.testing.assert_array_equal(downscale(image, scale), expected)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 6), (7, 4)])
def test_upscale_follows_the_definition(scale, rows, columns):
    image = _noise(rows, columns)
    np.testing.assert_array_equal(upscale(image, scale), _imresize(image, scale, "symmetric"))


def test_flat_images_stay_flat_and_scale_one_copies():
    flat = np.full((16, 24, 3), 201, np.uint8)
    assert (downscale(flat, 8) == 201).all()
    assert (upscale(flat, 3) == 201).all()
    image = _noise(5, 4)
    copy = downscale(image, 1)
    np.testing.assert_array_equal(copy, image)
    assert not np.shares_memory(copy, image)


def test_crop_keeps_the_top_left():
    image = _noise(11, 9)
    np.testing.assert_array_equal(crop_to_multiple(image, 4), image[:8, :8])


def test_wrong_input_is_one_clear_line():
    with pytest.raises(UserError, match="9x8 pixels is not a multiple of the scale 4"):
        downscale(_noise(8, 9), 4)
    with pytest.raises(UserError, match="uint8"):
        upscale(np.zeros((4, 4, 3), np.float32), 2)
    with pytest.raises(UserError, match="scale must be"):
        upscale(_noise(4, 4), 0)
