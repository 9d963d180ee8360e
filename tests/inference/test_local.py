from __future__ import annotations

import numpy as np
import pytest
import torch

from awsrn_fast.inference import Placed, Tiler, with_local_means
from awsrn_fast.inference.local import local_gates, local_means
from awsrn_fast.inference.process_memory import most_taken
from awsrn_fast.models import AWSRN, ImprovedAWSRN


@pytest.fixture(params=[("input", "hierarchical"), ("residual", "concat")], ids="-".join)
def network(request):
    torch.manual_seed(0)
    gap, lrfu = request.param
    model = ImprovedAWSRN(2, 8, 16, blocks=1, units=2, kernels=(1, 3), gap=gap, lrfu=lrfu, block=8, halo=2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (13, 9), (9, 9)])
def test_windows_are_shifted_inward(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    side, means = 6, local_means(x, 6)
    for row in range(size[0]):
        for column in range(size[1]):
            down, across = (min(side, length) for length in size)
            top = min(max(row - down // 2, 0), size[0] - down)
            left = min(max(column - across // 2, 0), size[1] - across)
            window = x[:, :, top : top + down, left : left + across]
            torch.testing.assert_close(means[:, :, row, column], window.mean((2, 3)))


def test_images_within_the_window_have_the_network_s_own_result(network):
    x = torch.rand(2, 3, 19, 24)
    for form in (network, network.fuse()):
        torch.testing.assert_close(with_local_means(form, 24)(x), form(x), rtol=1e-4, atol=1e-5)
    assert (with_local_means(network, 8)(x) - network(x)).abs().max() > 1e-3


def test_every_pixel_has_the_gate_of_its_window(network):
    x, side = torch.rand(1, 8, 14, 15), 6
    stage = next(stage for part in network.parts() for stage in part if stage.name.endswith("b0.gate"))
    attention = network.get_submodule(stage.name)
    gates = local_gates(side)(stage, [x, x], [None, None])
    window = x[:, :, 4:10, 5:11]  # of the pixel (7, 8)
    torch.testing.assert_close(gates[:, :, 7, 8], attention(window.mean((2, 3))))


@pytest.mark.parametrize("size", [(70, 41), (33, 64)])
def test_tiles_equal_the_whole(network, size):
    local = Placed(with_local_means(network.fuse(), 8))
    x = torch.rand(1, 3, *size)
    tiler = Tiler(local, 16)
    assert tiler.cuts(*size)
    torch.testing.assert_close(tiler(x), local(x), rtol=0, atol=2e-5)
    assert tiler.deviation is None  # there is none


def test_a_network_without_gates_stays_as_it_is():
    model = AWSRN(2, 8, 16, blocks=1, units=2)
    assert with_local_means(model) is model


def test_the_memory_taken_is_what_is_said():
    local = with_local_means(ImprovedAWSRN(2, blocks=1).eval().fuse())
    placed, x = Placed(local), torch.rand(1, 3, 128, 200)
    taken = most_taken(lambda: placed(x))
    # Less where the process holds freed memory from before, more by what each thread keeps: the map is small.
    assert taken is None or taken < 1.4 * 128 * 200 * local.facts.activations


def test_arrays(network):
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    whole, tiled = (network.upscale(image, stats="local", tile=tile) for tile in (0, 32))
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert (whole != network.upscale(image, tile=0)).any()
