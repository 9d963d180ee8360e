from __future__ import annotations

import numpy as np
import pytest

from awsrn_fast.data import Degradation, downscale, make_lr
from awsrn_fast.errors import UserError


def _noise(height=64, width=48):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_default_is_bicubic_alone():
    np.testing.assert_array_equal(make_lr(_noise(), 4), downscale(_noise(), 4))


def test_blur_has_the_wanted_width_and_keeps_the_mean():
    image = np.zeros((81, 81, 3), np.uint8)
    image[40, 40] = 255
    image[38:43, 38:43] = 255
    blurred = make_lr(image, 1, Degradation(blur=3.0))[..., 0].astype(float)
    offsets = np.arange(81) - 40
    variance = (blurred.sum(0) * offsets**2).sum() / blurred.sum()
    assert variance == pytest.approx(9 + 2, rel=0.1)  # the Gaussian's and the 5-pixel box's
    flat = np.full((9, 9, 3), 77, np.uint8)
    assert (make_lr(flat, 1, Degradation(blur=2.0)) == 77).all()


def test_noise_has_the_wanted_size_and_depends_on_the_picture_only():
    flat = np.full((400, 400, 3), 128, np.uint8)
    noisy = make_lr(flat, 2, Degradation(noise=10.0)).astype(float)
    assert noisy.std() == pytest.approx(10, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.2)
    np.testing.assert_array_equal(noisy, make_lr(flat.copy(), 2, Degradation(noise=10.0)))
    other = flat.copy()
    other[0, 0, 0] = 0
    assert (noisy != make_lr(other, 2, Degradation(noise=10.0))).mean() > 0.5


def test_jpeg_gets_worse_with_less_quality():
    lr = downscale(_noise(), 2).astype(float)
    errors = [np.abs(make_lr(_noise(), 2, Degradation(jpeg=quality)) - lr).mean() for quality in (95, 50, 5)]
    assert 0 < errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("wrong", [{"blur": -1}, {"blur": 17}, {"noise": -0.1}, {"jpeg": 0}, {"jpeg": 101}])
def test_wrong_settings_are_errors(wrong):
    with pytest.raises(UserError, match=f"degradation {next(iter(wrong))}"):
        Degradation(**wrong)


def test_settings_have_keys_of_their_own():
    settings = [
        Degradation(),
        Degradation(blur=1.0),
        Degradation(noise=1.0),
        Degradation(jpeg=1),
        Degradation(blur=1.5),
    ]
    assert len({setting.key for setting in settings}) == len(settings)
    assert Degradation(blur=1).key == Degradation(blur=1.0).key
