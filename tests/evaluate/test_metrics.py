from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from awsrn_fast.data import crop_to_multiple, downscale, find_images, read_rgb, upscale
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Placed, SelfEnsemble
from awsrn_fast.metrics import luma, score, super_resolve, to_uint8

BICUBIC = {
    "Set5": {2: 33.67, 3: 30.40, 4: 28.43, 8: 24.40},
    "B100": {2: 29.56, 3: 27.21, 4: 25.96, 8: 23.67},
    "Urban100": {2: 26.88, 3: 24.46, 4: 23.14, 8: 20.74},
}


def _noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _reference(result, hr, scale):
    """Both measures from their definitions, pixel by pixel in fp64."""

    def y(image):
        r, g, b = (image[..., i].astype(np.float64) / 255 for i in range(3))
        return (16 + 65.481 * r + 128.553 * g + 24.966 * b)[scale:-scale, scale:-scale]

    a, b = y(result), y(hr)
    psnr = 10 * math.log10(255**2 / ((a - b) ** 2).mean())
    window = np.array([[math.exp(-(i * i + j * j) / 4.5) for j in range(-5, 6)] for i in range(-5, 6)])
    window /= window.sum()
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            p, q = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            c1, c2 = 6.5025, 58.5225
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return psnr, float(np.mean(values))


@pytest.mark.parametrize("scale, height, width", [(2, 90, 31), (4, 19, 24), (3, 17, 100)])
def test_measures_follow_their_definitions(scale, height, width):
    hr = _noise(height, width)
    result = np.clip(hr + np.random.default_rng(1).normal(0, 30, hr.shape), 0, 255).astype(np.uint8)
    got = score(result, hr, scale)
    psnr, ssim = _reference(result, hr, scale)
    assert got.psnr == pytest.approx(psnr, abs=1e-9)
    assert got.ssim == pytest.approx(ssim, abs=1e-10)


def test_equal_images_are_perfect_and_the_border_does_not_count():
    hr = _noise(30, 30)
    result = hr.copy()
    result[:4] = result[-4:] = 0
    result[:, :4] = result[:, -4:] = 0
    got = score(result, hr, 4)
    assert got.psnr == math.inf
    assert got.ssim == pytest.approx(1, abs=1e-12)
    assert score(result, hr, 3).psnr < 30


def test_luma_range():
    assert luma(np.zeros((1, 1, 3), np.uint8)).item() == pytest.approx(16)
    assert luma(np.full((1, 1, 3), 255, np.uint8)).item() == pytest.approx(235)


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(UserError, match="30x20 with one of 30x21"):
        score(_noise(20, 30), _noise(21, 30), 2)
    with pytest.raises(UserError, match="too small"):
        score(_noise(18, 30), _noise(18, 30), 4)


def test_to_uint8_clamps_then_rounds():
    values = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 9.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]
    assert to_uint8(values[0]).shape == (1, 6, 3)


class Nearest(torch.nn.Module):
    facts = None

    def forward(self, x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class MarksItsCorner(Nearest):
    def forward(self, x):
        y = super().forward(x) * 0
        y[..., 0, 0] = 0.8
        return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_super_resolve_and_self_ensemble_keep_pixels_in_place(dtype):
    lr = _noise(5, 7)
    expected = lr.repeat(2, 0).repeat(2, 1)
    network = Placed(Nearest(), dtype=dtype)
    np.testing.assert_array_equal(super_resolve(network, lr), expected)
    np.testing.assert_array_equal(super_resolve(SelfEnsemble(network), lr), expected)


def test_self_ensemble_averages_the_eight_views():
    out = super_resolve(SelfEnsemble(MarksItsCorner()), _noise(4, 4))[..., 0]
    corners = [out[0, 0], out[0, -1], out[-1, 0], out[-1, -1]]
    assert corners == [51] * 4  # each corner of the result comes first in two of the eight views
    assert out.sum() == 4 * 51


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("name", ["Set5", "B100", pytest.param("Urban100", marks=pytest.mark.slow)])
def test_bicubic_gives_the_published_figures(shared_data, name, scale):
    values = []
    for file in find_images([shared_data / name]):
        hr = crop_to_multiple(read_rgb(file), scale)
        values.append(score(upscale(downscale(hr, scale), scale), hr, scale).psnr)
    assert len(values) == (5 if name == "Set5" else 100)
    assert np.mean(values) == pytest.approx(BICUBIC[name][scale], abs=0.02)
