"""Tiles of a network whose gates are means over the whole image: exact, frozen, out of memory on the way."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import awsrn_fast
from awsrn_fast.data import read_rgb
from awsrn_fast.errors import RunError
from awsrn_fast.inference import Placed, Tensors, Tiler
from awsrn_fast.inference.gates import gates_of, pooled, with_gates
from awsrn_fast.inference.tiling import REGION, places
from awsrn_fast.models import create

FORMS = {
    "block": {},
    "small blocks": {"block": 16, "halo": 4},
    "global": {"block": None},
    "means of the residual": {"gap": "residual"},
    "concat": {"lrfu": "concat"},
}


def network(variant: str = "improved-s", **options) -> Placed:
    """Every gate far from its special start, so that it matters which means it gets."""
    torch.manual_seed(0)
    model = create(variant, 2, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
        for attention in pooled(model).values():
            attention.squeeze.weight.mul_(10)
            attention.excite.weight.normal_(std=2)
    return Placed(model.eval().fuse())


def image(*size: int) -> Tensor:
    """Its left is dark and its right is bright: no tile has the means of the whole."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, *size, generator=generator) * torch.linspace(0.2, 1, size[1])


def photograph(folder: Path, index: int) -> Tensor:
    rgb = read_rgb(sorted((folder / "B100" / "HR").iterdir())[index])
    return torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255


def levels(a: Tensor, b: Tensor) -> float:
    return 255 * (a - b).abs().max().item()


@pytest.mark.parametrize("form", FORMS)
def test_exact_gates_give_the_whole_image_s_result(form: str) -> None:
    placed, x = network(**FORMS[form]), image(81, 97)
    done: list[float] = []
    tiler = Tiler(placed, 32, "exact")
    tiler.on_tile = done.append
    assert levels(tiler(x), placed(x)) < 1e-2
    assert sum(done) == pytest.approx(81 * 97)
    assert tiler.deviation is None


def test_means_of_a_tile_would_show() -> None:
    """What the tests above are about: the same tiles, each with gates of its own, are levels away."""
    placed, x = network(), image(81, 97)
    tiler = Tiler(placed, 32)
    own = torch.empty_like(placed(x))
    for rows, columns in tiler.tiles(81, 97):
        y = placed(x[:, :, rows.low : rows.high, columns.low : columns.high])
        own[:, :, rows.scaled(2).start : rows.scaled(2).stop, columns.scaled(2).start : columns.scaled(2).stop] = y[
            :, :, rows.scaled(2).own, columns.scaled(2).own
        ]
    assert levels(own, placed(x)) > 1


@pytest.mark.parametrize("form", [form for form in FORMS if form != "global"])
def test_tiles_equal_the_whole_where_gates_are_given(form: str) -> None:
    placed, x = network(**FORMS[form]), image(97, 81)
    whole = placed(x)
    fixed = with_gates(placed, gates_of(placed, x))
    assert levels(fixed(x), whole) < 1e-3
    assert levels(Tiler(fixed, 32)(x), whole) < 1e-2
    assert levels(placed(x), whole) == 0, "the network itself must stay as it was"


def test_larger_networks_too() -> None:
    placed, x = network("improved-m"), image(40, 70)
    assert levels(Tiler(placed, 32, "exact")(x), placed(x)) < 1e-2


def test_images_of_a_batch_have_gates_of_their_own() -> None:
    placed, x = network(), torch.cat((image(40, 50), 0.3 * image(40, 50)))
    assert levels(Tiler(placed, 32, "exact")(x), placed(x)) < 1e-2


@pytest.mark.parametrize("form", FORMS)
def test_deviation_of_frozen_gates_is_what_it_is_said_to_be(form: str, monkeypatch) -> None:
    """Small regions, so that they do not stand for the image well."""
    monkeypatch.setattr("awsrn_fast.inference.tiling.REGION", 24)
    placed, x = network(**FORMS[form]), image(120, 100)
    tiler = Tiler(placed, 32)
    if form == "global":
        tiler.context = 16  # else a tile sees all of this image
    pixels = 4 * 24 * 24
    monkeypatch.setattr("awsrn_fast.inference.tiling.places", lambda h, w, _: places(h, w, pixels))
    frozen, exact = tiler(x).clamp(0, 1), placed(x).clamp(0, 1)
    said = tiler.deviation
    assert said.rms > 0.05, "this test needs gates that are off"
    if form == "global":
        return  # its tiles also see less
    true_largest = levels(frozen, exact)
    true_rms = 255 * (frozen - exact).square().mean().sqrt().item()
    assert 0.4 < said.largest / true_largest < 2.5 and 0.4 < said.rms / true_rms < 2.5


def test_frozen_gates_of_a_photograph_are_close(shared_data) -> None:
    """The weights in the package on a photograph of which the regions see a third."""
    placed = Placed(awsrn_fast.load("improved-s-x4").fuse(clamp=True))
    x = photograph(shared_data, 5)[:, :, :300, :300]
    tiler = Tiler(placed, 64)
    frozen, exact = tiler(x), placed(x)
    # A level or so at single pixels of sharp edges, and next to nothing in the mean.
    assert levels(frozen, exact) < 2 and 255 * (frozen - exact).square().mean().sqrt().item() < 0.05
    assert tiler.deviation.largest < 2 and levels(frozen, exact) < 2 * tiler.deviation.largest + 0.02


def bend(y: Tensor, step: int, beside: int = 0) -> float:
    """Mean third difference, on both axes, across lines ``beside`` the multiples of ``step``."""
    found = []
    for plane in (y, y.transpose(2, 3)):
        bends = (plane[..., 3:] - 3 * plane[..., 2:-1] + 3 * plane[..., 1:-2] - plane[..., :-3]).abs().mean((0, 1, 2))
        lines = torch.arange(2, 2 + len(bends))  # a line lies between the pixels line - 1 and line
        found.append(bends[(lines - beside) % step == 0])
    return torch.cat(found).mean().item()


def test_photographs_show_no_seams(shared_data) -> None:
    """Borders of tiles and of attention blocks are as smooth as the rest; borders of tiles without context are not."""
    placed = Placed(awsrn_fast.load("improved-s-x4").fuse(clamp=True))
    ratios = []
    for index in range(2):
        x = photograph(shared_data, index)[:, :, :193, :288]
        whole, tiled, short = placed(x), Tiler(placed, 96)(x), Tiler(placed, 96, context=0)(x)
        plain = F.interpolate(x, scale_factor=4, mode="bicubic")
        tile, block = 4 * 96, 4 * 32
        # Beside a line by whole input pixels: the same place within the pixel, which PixelShuffle makes matter.
        at_blocks = [
            bend(y, block) / sum(bend(y, block, 4 * pixels) / 25 for pixels in range(4, 29)) for y in (tiled, plain)
        ]
        ratios.append(
            (
                bend(tiled, tile) / bend(whole, tile),
                at_blocks[0] / at_blocks[1],
                bend(short, tile) / bend(whole, tile),
            )
        )
    tiles, blocks, without_context = (sum(ratio) / len(ratios) for ratio in zip(*ratios, strict=True))
    assert tiles == pytest.approx(1, abs=0.005)
    assert blocks == pytest.approx(1, abs=0.1)
    assert without_context > 2, "the measure must see such seams"


def out_of_memory_above(placed: Placed, pixels: int, monkeypatch) -> list[int]:
    """From here on a map of more pixels fails as a GPU would."""
    seen: list[int] = []
    run = Placed.run

    def limited(self, function, *maps):
        count = maps[0].shape[0] * maps[0].shape[2] * maps[0].shape[3]
        if count > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(count)
        return run(self, function, *maps)

    monkeypatch.setattr(Placed, "run", limited)
    return seen


@pytest.mark.parametrize(("stats", "tile"), [("frozen", None), ("frozen", 128), ("exact", None), ("exact", 64)])
def test_out_of_memory_halves_the_tile_and_goes_on(stats: str, tile: int | None, monkeypatch) -> None:
    placed, x = network(), image(150, 200)
    whole = placed(x)
    seen = out_of_memory_above(placed, 170 * 150, monkeypatch)
    tiler = Tiler(placed, tile, stats)
    y = torch.cat(list(tiler.strips(Tensors(x))), dim=2)
    assert seen and y.shape == whole.shape
    assert levels(y, whole) < (1e-2 if stats == "exact" else tiler.deviation.largest * 2 + 0.02)


def test_out_of_memory_with_the_smallest_tile_is_an_error(monkeypatch) -> None:
    placed = network()
    out_of_memory_above(placed, 31 * 31, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        list(Tiler(placed, None).strips(Tensors(image(70, 60))))


def test_too_little_room_for_activations_is_said_before(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    tiler = Tiler(network(), 32, "exact", spill="/spill")
    with pytest.raises(RunError, match=r"exact gates need 0\.0 GB for activations in /spill, 0\.0 GB are free"):
        tiler(image(60, 50))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (300, 200), (4000, 512), (512, 4000), (192, 193)])
@pytest.mark.parametrize("pixels", [1, 192 * 192, 10 * 192 * 192, 10**7])
def test_regions_are_spread_over_the_image(size: tuple[int, int], pixels: int) -> None:
    found = places(*size, pixels)
    side = min(REGION, math.isqrt(pixels))
    down, across = min(side, size[0]), min(side, size[1])
    assert {(h, w) for _, h, _, w in found} == {(down, across)}
    assert len(found) >= 1 and len(found) * down * across <= pixels
    assert all(0 <= top <= size[0] - down and 0 <= left <= size[1] - across for top, _, left, _ in found)
    assert [top for top, *_ in found] == sorted(top for top, *_ in found)
    if pixels == 10**7:  # all of the image
        assert {0, size[0] - down} <= {top for top, *_ in found}
        assert {0, size[1] - across} <= {left for _, _, left, _ in found}
