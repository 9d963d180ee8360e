from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from public_awsrn import PublicAWSRN

import awsrn_fast
from awsrn_fast.models import SCALES, VARIANTS, build, create, facts_table
from awsrn_fast.nn import AWMS, AWRU, LRFU, NonLocal

SIZES = {
    "awsrn-full": (32, 128, 4, 4),
    "awsrn-m": (32, 128, 3, 4),
    "awsrn-s": (32, 128, 1, 4),
    "awsrn-sd": (16, 128, 1, 8),
}

# variant: (parameters, mult-adds of the literature in G) at x2, x3, x4, x8, all counted by hand from the layers once
FROZEN = {
    "awsrn-full": ((1396872, 320.5), (1476147, 150.6), (1587132, 91.1), (2348172, 33.7)),
    "awsrn-m": ((1063742, 244.1), (1143017, 116.6), (1254002, 72.0), (2015042, 28.9)),
    "awsrn-s": ((397482, 91.2), (476757, 48.6), (587742, 33.7), (1348782, 19.4)),
    "awsrn-sd": ((348098, 79.6), (388013, 39.5), (443894, 25.4), (827078, 11.8)),
    "improved-full": ((1358417, 325.4), (1438202, 152.8), (1549901, 92.4), (2315837, 34.1)),
    "improved-m": ((1036207, 252.3), (1115992, 120.3), (1227691, 74.1), (1993627, 29.5)),
    "improved-s": ((391787, 106.0), (471572, 55.3), (583271, 37.5), (1349207, 20.4)),
}


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Parameters moved away from their special start, so that no scale is one and no gate neutral."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p) * p.abs().mean().clamp_min(0.1))
    return model.eval()


def test_parameters_and_mult_adds_are_those_published_and_frozen() -> None:
    for facts in facts_table():
        parameters, giga = FROZEN[facts.variant][SCALES.index(facts.scale)]
        assert facts.parameters == parameters, facts
        assert round(facts.mult_adds / 1e9, 1) == giga, facts
        assert facts.mult_adds_merged < facts.mult_adds


@pytest.mark.parametrize("listed", [False, True], ids=["first layout", "second layout"])
@pytest.mark.parametrize(("variant", "scale"), [("awsrn-full", 4), ("awsrn-s", 3), ("awsrn-sd", 2), ("awsrn-m", 8)])
def test_public_checkpoints_give_the_public_output(variant: str, scale: int, listed: bool) -> None:
    public = randomised(PublicAWSRN(scale, *SIZES[variant], listed=listed))
    model = build(public.state_dict()).eval()
    assert (model.facts.variant, model.facts.scale) == (variant, scale)
    if not listed:
        assert set(model.state_dict()) == set(public.state_dict())
    x = torch.rand(2, 3, 19, 23)
    with torch.no_grad():
        error = (255 * model(x) - public(255 * x)).abs().max().item()
    assert error <= 255e-4


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_sizes_are_read_from_the_state_dict(variant: str, scale: int) -> None:
    model = create(variant, scale)
    again = build(model.state_dict())
    assert again.hyper == model.hyper


def test_other_forms_of_the_improved_network_are_read_too() -> None:
    model = create("improved-s", 2, lrfu="concat", kernels=(1, 3, 7))
    assert build(model.state_dict()).hyper == model.hyper
    with pytest.raises(ValueError, match="unknown variant 'awsrn-xl'"):
        create("awsrn-xl")
    with pytest.raises(ValueError, match="scale must be"):
        create("awsrn-s", 5)


@pytest.mark.parametrize("variant", ["awsrn-s", "awsrn-sd", "improved-s"])
def test_fused_form_gives_the_same_output(variant: str) -> None:
    model = randomised(create(variant, 3))
    x = torch.rand(2, 3, 50, 37)
    with torch.no_grad():
        whole, fused, clamped = model(x), model.fuse()(x), model.fuse(clamp=True)(x)
    torch.testing.assert_close(fused, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(clamped, whole.clamp(0, 1), rtol=1e-5, atol=1e-5)
    levels = model.fuse(out_dtype=torch.uint8)(x)
    assert levels.dtype == torch.uint8 and (levels - 255 * clamped).abs().max() < 0.51
    assert not any(p.requires_grad for p in model.fuse().parameters())
    assert all(p.requires_grad for p in model.parameters()), "fuse() must leave the model itself as it was"


@pytest.mark.parametrize("size", [(64, 80), (47, 61)], ids=str)
def test_transformed_convolutions_stay_within_a_hundredth_of_a_gray_level(size: tuple[int, int]) -> None:
    model = awsrn_fast.load("improved-s-x4")
    photo = Path(awsrn_fast.__file__).parent / "data/sample/valid/astronaut.png"
    x = torch.from_numpy(np.array(Image.open(photo).convert("RGB").resize(size[::-1]))).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        exact = model.double()(x.double())
        got = model.float().fuse()(x)
    assert (255 * (got.double() - exact)).abs().max().item() <= 0.01


@pytest.mark.parametrize("kernels", [(3, 5, 7, 9), (1, 3, 5, 7, 9), (1, 3)])
def test_merged_branches_equal_separate_ones_in_output_and_gradients(kernels: tuple[int, ...]) -> None:
    tail = randomised(AWMS(4, 2, kernels)).double()
    x = torch.randn(2, 4, 9, 6, dtype=torch.float64)
    seed = torch.randn(2, 3, 18, 12, dtype=torch.float64)

    def separate(x: torch.Tensor) -> torch.Tensor:
        branches = (getattr(tail, f"scale_k{k}").scale * getattr(tail, f"tail_k{k}")(x) for k in kernels)
        return torch.nn.functional.pixel_shuffle(sum(branches), 2)

    results = []
    for form in (lambda x: tail(x, None), separate):
        leaf = x.clone().requires_grad_()
        y = form(leaf)
        results.append([y, *torch.autograd.grad((y * seed).sum(), [leaf, *tail.parameters()])])
    for merged, apart in zip(*results, strict=True):
        torch.testing.assert_close(merged, apart, rtol=1e-11, atol=1e-11)


def test_non_local_in_blocks_equals_everywhere_where_the_span_covers_the_map() -> None:
    layer = randomised(NonLocal(8, block=32, halo=8))
    everywhere = NonLocal(8, block=None)
    everywhere.load_state_dict(layer.state_dict())
    for size in ((48, 48), (33, 48), (1, 47), (32, 5)):
        x = torch.randn(1, 8, *size)
        assert torch.equal(layer(x), everywhere(x))
    x = torch.randn(1, 8, 49, 49)
    assert (layer(x) - everywhere(x)).abs().max() > 1e-4, "a larger map must not see everything"


def test_non_local_span_is_shifted_inward_at_borders() -> None:
    block, halo, height, width = 4, 1, 11, 7
    layer = randomised(NonLocal(6, block=block, halo=halo)).double()
    x = torch.randn(1, 6, height, width, dtype=torch.float64)
    theta, phi, g = (
        torch.nn.functional.linear(x[0].permute(1, 2, 0), p.weight, p.bias) for p in (layer.theta, layer.phi, layer.g)
    )
    expected = torch.empty(height, width, 6, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            spans = []
            for position, size in ((row, height), (column, width)):
                length = min(block + 2 * halo, size)
                start = min(max(position // block * block - halo, 0), size - length)
                spans.append(slice(start, start + length))
            keys, values = phi[spans[0], spans[1]].reshape(-1, 3), g[spans[0], spans[1]].reshape(-1, 3)
            attended = torch.softmax(keys @ theta[row, column], dim=0) @ values
            expected[row, column] = x[0, :, row, column] + layer.z.weight @ attended + layer.z.bias
    torch.testing.assert_close(layer(x)[0].permute(1, 2, 0), expected, rtol=1e-10, atol=1e-10)


def test_improved_network_starts_as_the_baseline_unit_by_unit() -> None:
    x = torch.randn(2, 8, 6, 5)
    mean = x.mean(dim=(2, 3))
    gated, plain = AWRU(8, 16, gate=True), AWRU(8, 16)
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("gate.")})
    plain.res_scale.scale.data.fill_(1)
    torch.testing.assert_close(gated(x, mean)[0], plain(x, mean)[0])
    fusion = LRFU(8, 4)
    assert torch.equal(2 * fusion.focus(torch.randn(3, 32)), torch.ones(3, 32))
    layer = NonLocal(8)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("gap", ["input", "residual"])
def test_every_parameter_learns(gap: str) -> None:
    model = randomised(create("improved-s", 2, gap=gap)).train()
    for name, p in model.named_parameters():
        if name.endswith("squeeze.bias"):
            p.data += 1  # four hidden units may all be dead by chance, and then their gate rightly does not learn
    model(torch.rand(1, 3, 12, 10)).square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not idle
    still = [name for name, p in model.named_parameters() if not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("variant", ["awsrn-s", "improved-s"])
def test_network_compiles_to_one_graph(variant: str) -> None:
    torch._dynamo.reset()
    model = create(variant, 2)
    x = torch.rand(1, 3, 12, 10)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"x must be RGB \[N, 3, H, W\]"):
        awsrn_fast.AWSRN(blocks=1)(torch.rand(1, 1, 8, 8))
