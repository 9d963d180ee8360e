"""Consistency with the measurement: what is made of an image, shrunk again, is the image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import awsrn_fast
from awsrn_fast.data import crop_to_multiple, downscale, find_images, read_rgb, sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Tensors
from awsrn_fast.inference.consistency import Consistency, consistent
from awsrn_fast.inference.corrections import corrected
from awsrn_fast.inference.forward_model import forward_model
from awsrn_fast.metrics import score, to_uint8

SCALES = (2, 3, 4, 8)


def photograph(index: int = 0, side: int = 96) -> np.ndarray:
    return read_rgb(sorted(find_images([sample_folder()]))[index])[60 : 60 + side, 80 : 80 + side]


def unit(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 255


def gaussian(side: int, along: float, across: float) -> np.ndarray:
    """At 30 degrees, so that no product of two vectors makes it."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    u, v = 0.866 * x + 0.5 * y, 0.866 * y - 0.5 * x
    return np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))


def taken_apart(y: np.ndarray, taps: np.ndarray, scale: int) -> np.ndarray:
    """The definition, pixel by pixel: ``y [H, W]`` mirrored, weighed and sampled."""
    reach = (len(taps) - scale) // 2
    padded = np.pad(y.astype(np.float64), reach, mode="symmetric")
    rows, columns = (side // scale for side in y.shape)
    k = len(taps)

    def weighed(i: int, j: int) -> float:
        return (padded[scale * i : scale * i + k, scale * j : scale * j + k] * taps).sum()

    return np.array([[weighed(i, j) for j in range(columns)] for i in range(rows)])


@pytest.mark.parametrize("scale", SCALES)
def test_the_bicubic_model_is_the_benchmarks_downscaling(scale: int) -> None:
    hr = crop_to_multiple(photograph(), scale)
    found = 255 * forward_model("bicubic", scale).shrunk(unit(hr))
    off = (found - 255 * unit(downscale(hr, scale))).abs()
    assert off.max() < 1.2  # it rounds twice: half a level each, the first times the kernel's negative lobes
    assert off.mean() < 0.35


@pytest.mark.parametrize(("scale", "side"), [(2, 6), (3, 9), (4, 12)])
def test_a_kernel_is_applied_as_written(scale: int, side: int) -> None:
    taps = gaussian(side, 0.5 * scale, 0.25 * scale)
    taps[0, 1] = 0.3  # not symmetric
    y = torch.rand(1, 1, 5 * scale, 7 * scale)
    found = forward_model(taps, scale).shrunk(y)[0, 0]
    np.testing.assert_allclose(found, taken_apart(y[0, 0].numpy(), taps / taps.sum(), scale), atol=2e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (12, 5)])
def test_one_round_restores_any_image(scale: int, size: tuple[int, int]) -> None:
    residual = 0.2 * torch.rand(1, 2, *size)
    for kernel in ("bicubic", "area"):
        model = forward_model(kernel, scale)
        again = model.shrunk(0.4 + model.spread(residual)) - 0.4
        # At x8 borders repeat the last pixel, as the benchmarks' files do, which further rounds take care of.
        assert (again - residual).abs().max() < (0.05 if scale == 8 else 0.01)


@pytest.mark.parametrize("scale", SCALES)
def test_a_photograph_enlarged_and_shrunk_is_the_photograph(scale: int) -> None:
    hr = crop_to_multiple(photograph(2, 160), scale)
    lr = downscale(hr, scale)
    network = awsrn_fast.load(f"improved-s-x{scale}").fuse()
    before, after = network.upscale(lr), network.upscale(lr, consistent="bicubic")
    off = [np.abs(downscale(large, scale).astype(int) - lr) for large in (before, after)]
    assert off[0].max() >= 2 and off[1].max() <= 1
    assert (off[1] > 0).mean() < 0.03
    assert score(after, hr, scale).psnr > score(before, hr, scale).psnr


def test_clipped_values_take_more_rounds_and_stay_within_range() -> None:
    hr = np.zeros((96, 96, 3), np.uint8)
    hr[20:60, 33:71] = 255  # black and white alone: everything is at the bounds
    x = unit(downscale(hr, 4))
    y = F.interpolate(x, scale_factor=4, mode="bicubic").clamp(0, 1)
    made = consistent(x, y, 4)
    assert made.min() >= 0 and made.max() <= 1
    off = [255 * (forward_model("bicubic", 4).shrunk(each) - x).abs() for each in (y, made)]
    assert off[0].max() > 10 and off[1].max() < 5 and off[1].mean() < 0.25 * off[0].mean()


def test_means_of_area_are_kept() -> None:
    x = 0.3 + 0.4 * torch.rand(1, 3, 9, 11)
    y = (F.interpolate(x, scale_factor=3, mode="bilinear") + 0.05).clamp(0, 1)
    assert (F.avg_pool2d(consistent(x, y, 3, "area"), 3) - x).abs().max() < 1e-4


@pytest.mark.parametrize(("scale", "side"), [(2, 8), (3, 9), (4, 16)])
def test_a_blur_that_is_given_is_undone(scale: int, side: int) -> None:
    taps = gaussian(side, 0.6 * scale, 0.35 * scale)
    hr = crop_to_multiple(photograph(3), scale)
    model = forward_model(taps, scale)
    x = (255 * model.shrunk(unit(hr))).round() / 255
    plain = F.interpolate(x, scale_factor=scale, mode="bicubic").clamp(0, 1)
    made = consistent(x, plain, scale, taps)
    residual = [255 * (model.shrunk(each) - x).square().mean().sqrt() for each in (plain, made)]
    assert residual[1] < 0.3 < 1 < residual[0]
    assert score(to_uint8(made), hr, scale).psnr > score(to_uint8(plain), hr, scale).psnr + 0.5


@pytest.mark.parametrize("heights", [[60], [1] * 60, [25, 35]])
@pytest.mark.parametrize("columns", [512, 7])
def test_parts_have_the_bits_of_the_whole(monkeypatch: pytest.MonkeyPatch, heights: list[int], columns: int) -> None:
    monkeypatch.setattr("awsrn_fast.inference.corrections._BYTES", 1)
    monkeypatch.setattr("awsrn_fast.inference.corrections._COLUMNS", columns)
    monkeypatch.setattr("awsrn_fast.inference.consistency.ROUNDS", 2)
    x = torch.rand(1, 3, 60, 30, generator=torch.Generator().manual_seed(0))
    x[..., 10:20] = 1
    y = F.interpolate(x, scale_factor=2, mode="bicubic")
    one, parts = (Consistency(forward_model("bicubic", 2)) for _ in range(2))

    def whole(source: Tensors) -> Iterator[Tensor]:
        yield y

    def strips(source: Tensors) -> Iterator[Tensor]:
        yield from y.split([2 * height for height in heights], 2)

    assert parts.reach < 20  # so that the parts are real ones
    monkeypatch.setattr("awsrn_fast.inference.corrections._COLUMNS", columns)
    found = torch.cat(list(corrected(strips, 2, parts.reach, parts)(Tensors(x))), 2)
    monkeypatch.setattr("awsrn_fast.inference.corrections._COLUMNS", 512)
    expected = torch.cat(list(corrected(whole, 2, 60, one)(Tensors(x))), 2)
    assert torch.equal(found, expected)
    assert (parts.after.count, parts.after.largest) == (one.after.count, one.after.largest)
    assert parts.after.rms == pytest.approx(one.after.rms, rel=1e-9)


def test_bits_do_not_depend_on_threads() -> None:
    x, threads = torch.rand(1, 3, 64, 64), torch.get_num_threads()
    y = F.interpolate(x, scale_factor=4, mode="bicubic")
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(consistent(x, y, 4))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("kernel", "scale", "said"),
    [
        ("cubic", 4, "no kernel 'cubic': give bicubic, area"),
        (np.ones((5, 5)), 4, "side must be even and at least 4"),
        (np.ones((2, 2)), 3, "side must be odd and at least 3"),
        (np.ones((3, 5)), 3, "a square of up to"),
        (np.ones(9), 3, "a square of up to"),
        (np.full((3, 3), np.nan), 3, "must be finite"),
        (np.diag([1, 0, -1]), 3, "their sum not zero"),
        (np.zeros((4, 4)), 4, "their sum not zero"),
    ],
)
def test_what_is_no_kernel_is_said(kernel: object, scale: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        forward_model(kernel, scale)
