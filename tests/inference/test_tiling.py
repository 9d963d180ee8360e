from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from awsrn_fast.devices import DTYPES
from awsrn_fast.inference import Placed, SelfEnsemble, Tiler, exact_context
from awsrn_fast.inference.spans import spans
from awsrn_fast.models import create


class Nearest(nn.Module):
    """Repeats pixels; what a tile sees of the image is recorded."""

    facts = SimpleNamespace(scale=2, receptive_field=1, block=None, halo=0)

    def __init__(self):
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@given(
    length=st.integers(1, 700), tile=st.integers(1, 300), context=st.integers(0, 90), align=st.sampled_from([1, 8, 32])
)
def test_spans_cover_once_on_the_grid_with_their_context(length, tile, context, align):
    cut = spans(length, tile, context, align)
    assert [p for s in cut for p in range(s.start, s.stop)] == list(range(length))
    for s in cut:
        assert s.stop - s.start <= -(-tile // align) * align
        assert s.start % align == 0 and s.low % align == 0
        assert 0 <= s.low <= max(0, s.start - context) and s.high <= length
        assert s.high >= min(length, s.stop + context)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 17), (64, 64)])
def test_tiles_are_placed_where_they_belong(size):
    x = torch.rand(1, 3, *size)
    done = []
    tiler = Tiler(Nearest(), tile=7, context=3)
    tiler.on_tile = done.append
    torch.testing.assert_close(tiler(x), Nearest()(x), rtol=0, atol=0)
    assert sum(done) == size[0] * size[1]


def test_small_images_and_no_tile_run_whole():
    for tile in (20, None):
        model = Nearest()
        Tiler(model, tile)(torch.rand(1, 3, 10, 40))
        assert model.seen == [(1, 3, 10, 40)]


@pytest.mark.parametrize("variant", ["awsrn-s", "awsrn-sd"])
def test_tiles_of_the_baseline_equal_the_whole(variant):
    torch.manual_seed(0)
    model = create(variant, 2).eval().fuse()
    x = torch.rand(1, 3, 75, 101)
    with torch.no_grad():
        whole, tiled = model(x), Tiler(model, tile=40)(x)
        seams = Tiler(model, tile=40, context=2)(x)
    assert (tiled - whole).abs().max() * 255 < 1e-2
    assert (seams - whole).abs().max() * 255 > 1  # the context is what makes them equal


def improved_with_fixed_gates() -> nn.Module:
    """Every gate a constant (as at the start of training), the non-local fusion at work, means apart from it."""
    torch.manual_seed(0)
    model = create("improved-s", 2).eval()
    nn.init.normal_(model.non_local.z.weight, std=0.3)
    nn.init.zeros_(model.channel_attention.excite.weight)
    return model.fuse()


# 129 and 97: the last block has one pixel, so its keys are shifted inward the farthest.
@pytest.mark.parametrize("size", [(129, 97), (130, 64), (40, 161)])
def test_tiles_of_a_block_span_equal_the_whole_where_gates_are_fixed(size):
    model = improved_with_fixed_gates()
    assert model.facts.block == 32
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        whole, tiled = model(x), Tiler(model, tile=32)(x)
        short = Tiler(model, tile=32, context=model.facts.receptive_field // 2)(x)
    assert (tiled - whole).abs().max() * 255 < 1e-2
    assert (short - whole).abs().max() * 255 > 10 * (tiled - whole).abs().max() * 255


def test_context_of_a_block_span_reaches_the_shifted_keys():
    assert exact_context(SimpleNamespace(receptive_field=29, block=None, halo=0)) == 14
    assert exact_context(SimpleNamespace(receptive_field=29, block=32, halo=8)) == 14 + 32 + 16


def test_self_ensemble_commutes_with_every_flip_and_turn():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 12, 3, padding=1)
    model = nn.Sequential(conv, nn.PixelShuffle(2))
    model.facts = Nearest.facts
    ensemble = SelfEnsemble(model)
    x = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        y = ensemble(x)
        assert not torch.allclose(model(x.flip(3)), model(x).flip(3), atol=1e-3)
        torch.testing.assert_close(ensemble(x.flip(3)), y.flip(3))
        torch.testing.assert_close(ensemble(torch.rot90(x, 1, (2, 3))), torch.rot90(y, 1, (2, 3)))


def test_self_ensemble_of_tiles_equals_that_of_the_whole():
    model = improved_with_fixed_gates()
    x = torch.rand(1, 3, 70, 97)
    with torch.no_grad():
        whole, tiled = SelfEnsemble(model)(x), SelfEnsemble(Tiler(model, tile=64))(x)
    assert (tiled - whole).abs().max() * 255 < 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_stays_close_and_comes_back_in_fp32(dtype):
    torch.manual_seed(0)
    model = create("improved-s", 2).eval().fuse()
    x = torch.rand(1, 3, 12, 15)
    assert model.facts.dtypes == tuple(DTYPES) and dtype in DTYPES.values()
    exact, reduced = Placed(model)(x), Placed(model, dtype=dtype)(x)
    assert reduced.dtype == torch.float32 and not torch.equal(exact, reduced)
    assert (exact - reduced).abs().max() < 0.03


@pytest.mark.parametrize("variant", ["improved-s", "awsrn-s"])
@pytest.mark.parametrize("fused", [True, False])
def test_weights_rounded_once_give_what_autocast_gives_at_every_call(variant, fused):
    model = create(variant, 2).eval()
    model = model.fuse() if fused else model.requires_grad_(False)
    x, placed = torch.rand(1, 3, 12, 15), Placed(model, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(x.contiguous(memory_format=torch.channels_last)).float()
    assert torch.equal(placed(x), expected)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("stats", ["frozen", "exact"])
def test_tiles_in_reduced_precision(stats):
    model = create("improved-s", 2).eval().fuse()
    x = torch.rand(1, 3, 70, 90)
    y = Tiler(Placed(model, dtype=torch.bfloat16), 32, stats)(x)
    assert (y - Placed(model)(x)).abs().max() < 0.03
