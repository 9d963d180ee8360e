from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from awsrn_fast.errors import RunError
from awsrn_fast.images import WORDS, Picture
from awsrn_fast.inference.enhance import enhance, fill_hidden, passes, pixels_of


class Bicubic:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        assert x.dtype == torch.float32 and x.shape[:2] == (1, 3)
        return F.interpolate(x, scale_factor=4, mode="bicubic")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 5)])
@pytest.mark.parametrize("planes", [1, 3])
def test_flat_colours_stay_and_planes_are_kept(size, planes):
    color = np.full((*size, planes), 0.3, np.float32)
    large = enhance(Picture(color, np.full(size, 0.5, np.float32), samples=WORDS), Bicubic(), 4)
    assert large.color.shape == (4 * size[0], 4 * size[1], planes) and large.depth == 16
    np.testing.assert_allclose(large.color, 0.3, atol=1e-6)
    assert (large.alpha == 0.5).all()


def test_gray_is_the_mean_of_what_the_network_makes_of_it():
    tint = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    large = enhance(Picture(np.zeros((2, 2, 1), np.float32)), lambda x: Bicubic()(x) + tint, 4)
    np.testing.assert_allclose(large.color, 0.2, atol=1e-6)


def test_network_runs_for_alpha_only_where_it_varies():
    color = np.zeros((4, 4, 3), np.float32)
    for alpha, count in ((None, 1), (np.ones((4, 4), np.float32), 1), (np.eye(4, dtype=np.float32), 2)):
        network = Bicubic()
        picture = Picture(color, alpha)
        enhance(picture, network, 4)
        assert network.calls == passes(pixels_of(picture)) == count


def test_colour_under_transparent_pixels_does_not_bleed():
    """A gray disc cut out of bright green: no visible pixel of the result may be green."""
    rows, columns = np.mgrid[:40, :40] - 20
    alpha = (rows**2 + columns**2 < 200).astype(np.float32)
    color = np.where(alpha[..., None] > 0, 0.5, np.array([0, 1, 0])).astype(np.float32)
    large = enhance(Picture(color, alpha), Bicubic(), 4)
    assert 0.3 < (large.alpha > 0.01).mean() < 0.6
    np.testing.assert_allclose(large.color[large.alpha > 0.01], 0.5, atol=1e-5)


def test_fill_keeps_visible_pixels_and_weighs_by_alpha():
    color = np.array([[[0.2], [0.9], [0.9], [0.9], [0.6]]], np.float32)
    alpha = np.array([[1, 0, 0, 0, 0.5]], np.float32)
    filled = fill_hidden(color, alpha)
    assert filled[0, 0] == color[0, 0] and filled[0, 4] == color[0, 4]
    np.testing.assert_allclose(filled[0, 1], 0.2)
    np.testing.assert_allclose(filled[0, 2:4], 0.2, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_fill_leaves_wholly_hidden_and_wholly_visible_pictures(alpha):
    color = np.random.default_rng(0).random((3, 4, 3), np.float32)
    np.testing.assert_array_equal(fill_hidden(color, np.full((3, 4), alpha, np.float32)), color)


def test_values_that_are_not_finite_are_an_error():
    with pytest.raises(RunError, match="NaN or infinite values; try --dtype float32"):
        enhance(Picture(np.zeros((2, 2, 3), np.float32)), lambda x: Bicubic()(x) * torch.nan, 4)
