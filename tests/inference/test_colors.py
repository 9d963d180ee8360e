from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import awsrn_fast
from awsrn_fast.data import find_images, read_rgb, sample_folder
from awsrn_fast.inference import Tensors
from awsrn_fast.inference.colors import REACH, keep_colors, keeping_colors


@pytest.fixture(scope="module")
def network():
    return awsrn_fast.load("improved-s-x4").fuse()


@pytest.mark.parametrize("color", [(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 0, 1), (0.2, 0.7, 0.4)])
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (24, 31)])
def test_a_flat_colour_stays_that_colour(network, color, size):
    x = torch.tensor(color, dtype=torch.float32)[None, :, None, None].expand(1, 3, *size).contiguous()
    with torch.inference_mode():
        y = network(x)
    kept = keep_colors(x, y, 4)
    assert (kept - x[:, :, :1, :1]).abs().max() < 1e-6
    if size == (24, 31):
        assert 255 * (y - x[:, :, :1, :1]).abs().max() > 1  # else the test would say nothing


def test_a_flat_area_beside_a_photograph_stays_flat_without_a_step(network):
    photograph = torch.from_numpy(read_rgb(find_images([sample_folder()])[0])[:48, :48].copy())
    x = photograph.permute(2, 0, 1)[None] / 255
    x[:, :, :, 24:] = torch.tensor([1.0, 0, 0])[None, :, None, None]
    with torch.inference_mode():
        y = network(x)
    kept = keep_colors(x, y, 4)
    assert (kept[..., 4 * 32 :] - x[..., -1:, -1:]).abs().max() < 1e-6
    weight = (kept - y).abs().amax((0, 1, 2))  # by column: fades over several columns
    assert weight.diff().abs().max() < weight.max()


def test_mean_colours_of_photographs_stay_and_details_too(network):
    for path in find_images([sample_folder()])[:4]:
        x = torch.from_numpy(read_rgb(path)[:96, :80].copy()).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            y = network(x)
        kept = keep_colors(x, y, 4)
        off = 255 * (kept.clamp(0, 1).mean((2, 3)) - x.mean((2, 3))).abs().max()
        assert off < 0.1
        details = (kept - y) - F.avg_pool2d(F.pad(kept - y, (8,) * 4, mode="replicate"), 17, 1)
        assert 255 * details.square().mean().sqrt() < 0.2


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("heights", [[50], [1] * 50, [20, 30], [3, 9, 17, 21], [49, 1]])
@pytest.mark.parametrize("small", [False, True])
def test_strips_give_what_the_whole_gives(monkeypatch, scale, heights, small):
    if small:
        monkeypatch.setattr("awsrn_fast.inference.corrections._BYTES", 1)
        monkeypatch.setattr("awsrn_fast.inference.corrections._COLUMNS", 7)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 50, 30, generator=generator)
    x[:, :, 10:30, 4:25] = 0.25
    y = F.interpolate(x, scale_factor=scale, mode="bicubic") + 0.1 * torch.rand(1, 3, 50 * scale, 30 * scale)
    windows = []

    class Recorded(Tensors):
        def window(self, top, bottom, left, right):
            windows.append((top, bottom))
            return super().window(top, bottom, left, right)

    def strips(source):
        top = 0
        for height in heights:
            source.window(max(top - REACH, 0), min(top + height + REACH, 50), 0, 30)
            yield y[:, :, scale * top : scale * (top + height)]
            top += height

    found = torch.cat(list(keeping_colors(strips, scale)(Recorded(x))), 2)
    torch.testing.assert_close(found, keep_colors(x, y, scale), atol=1e-6, rtol=0)
    assert len(windows) <= 1 + len(heights)  # nothing is read twice


def test_alpha_of_a_disc_keeps_its_corners():
    rows, columns = np.mgrid[:40, :40] - 20
    alpha = torch.from_numpy((rows**2 + columns**2 < 200).astype(np.float32)).expand(1, 3, 40, 40)
    y = F.interpolate(alpha, scale_factor=4, mode="bicubic") * 0.98 + 0.01
    kept = keep_colors(alpha, y, 4)
    assert kept[..., :8, :8].abs().max() == 0 and (kept[..., 72:88, 72:88] == 1).all()
