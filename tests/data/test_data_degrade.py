from __future__ import annotations

import numpy as np
import pytest

from awsrn_fast.data import Degradation, downscale, make_lr
from awsrn_fast.data.degrade import KERNELS
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


def _generators():
    return (np.random.Generator(np.random.Philox(key=i)) for i in range(60))


@pytest.mark.parametrize(
    "settings",
    [
        {"blur": (0, 3)},
        {"blur": (0.5, 3), "anisotropic": True},
        {"noise": (0, 20)},
        {"poisson": (0, 2)},
        {"jpeg": (30, 95)},
        {"resize": tuple(KERNELS)},
        {"second_order": 0.5},
        {
            "blur": (0, 2),
            "noise": (0, 9),
            "jpeg": (40, 95),
            "poisson": (0, 1),
            "resize": ("area",),
            "second_order": 1.0,
        },
    ],
)
def test_ranges_are_drawn_from_the_generator_alone(settings):
    hr, degradation = _noise(), Degradation(**settings)
    results = [make_lr(hr, 2, degradation, generator) for generator in _generators()]
    again = [make_lr(hr, 2, degradation, generator) for generator in _generators()]
    assert all(np.array_equal(a, b) for a, b in zip(results, again, strict=True))
    different = {result.tobytes() for result in results}
    assert len(different) >= (4 if "resize" in settings and len(settings) == 1 else 20)
    assert all(r.shape == (hr.shape[0] // 2, hr.shape[1] // 2, 3) and r.dtype == np.uint8 for r in results)
    assert np.array_equal(make_lr(hr, 2, degradation), make_lr(hr.copy(), 2, degradation))


def test_one_number_is_a_range_of_one():
    hr = _noise()
    assert Degradation(noise=(7.0, 7.0), jpeg=(80,)) == Degradation(noise=7.0, jpeg=80)
    np.testing.assert_array_equal(make_lr(hr, 2, Degradation(blur=(1.5,))), make_lr(hr, 2, Degradation(blur=1.5)))


@pytest.mark.parametrize("level", [40, 160])
def test_poisson_noise_has_the_root_of_the_level(level):
    noisy = make_lr(np.full((400, 400, 3), level, np.uint8), 2, Degradation(poisson=1.5)).astype(float)
    assert noisy.std() == pytest.approx(1.5 * level**0.5, rel=0.02)
    assert noisy.mean() == pytest.approx(level, abs=0.3)


def test_a_blur_with_two_equal_deviations_is_the_round_one():
    hr = _noise()
    two = make_lr(hr, 2, Degradation(blur=1.7, anisotropic=True)).astype(int)
    assert np.abs(two - make_lr(hr, 2, Degradation(blur=1.7))).max() <= 1


@pytest.mark.parametrize("settings", [{}, {"anisotropic": True, "blur": (1, 3)}, {"second_order": 1.0}])
@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_is_shifted(kernel, settings):
    """A ramp stays the ramp that bicubic gives, on the average: half an LR pixel of shift would be four levels."""
    ramp = np.repeat(np.repeat(np.arange(60, dtype=np.uint8)[None, :, None] * 4, 48, 0), 3, 2)
    for image in (ramp, ramp.transpose(1, 0, 2)):
        expected = make_lr(np.ascontiguousarray(image), 2).astype(int)
        got = make_lr(np.ascontiguousarray(image), 2, Degradation(resize=(kernel,), **settings)).astype(int)
        assert abs((got - expected)[6:-6, 6:-6].mean()) < 1


@pytest.mark.parametrize(
    "wrong", [{"noise": (5, 1)}, {"noise": (0, 1, 2)}, {"jpeg": (0, 50)}, {"resize": ("cubic",)}, {"second_order": 2}]
)
def test_wrong_ranges_are_errors(wrong):
    with pytest.raises(UserError, match=f"degradation {next(iter(wrong))}"):
        Degradation(**wrong)
