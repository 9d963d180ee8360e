"""The CPU 3x3 convolutions alone: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import ops, use_backend
from awsrn_fast.ops._cases import TRANSFORMED
from awsrn_fast.ops.conv3x3.cpu import bwd, fwd

# N, C, wide, H, W: below, at and above a tile of 4, a chunk of 16 tiles and a panel; channels beside whole vectors.
SHAPES = [
    (1, 1, 3, 1, 1),
    (2, 5, 20, 6, 9),
    (1, 32, 128, 8, 12),
    (3, 17, 70, 23, 5),
    (1, 16, 32, 9, 141),
    (9, 3, 16, 21, 7),
]


def normal(*size: int, seed: int = 0) -> Tensor:
    values = torch.randn(size, generator=torch.Generator().manual_seed(seed + sum(size)), dtype=torch.float64)
    return values / (values[0].numel() ** 0.5 if len(size) == 4 and size[2:] == (3, 3) else 1)


def unit_inputs(shape: tuple[int, ...]) -> dict[str, Tensor]:
    n, c, k, h, w = shape
    made = {
        "x": normal(n, c, h, w),
        "w1": normal(k, c, 3, 3),
        "b1": normal(k),
        "w2": normal(c, k, 3, 3),
        "b2": normal(c),
    }
    return made | {"gate": normal(n, c, seed=1), "x_scale": normal(1), "res_scale": normal(1, seed=1)}


def assert_near(got: Tensor, exact: Tensor, bound: float) -> None:
    error = (got.double() - exact).abs().max().item()
    rms = exact.square().mean().sqrt().item()
    assert error <= bound * max(rms, 1e-3), f"error {error:.3g}, rms {rms:.3g}"


def unit(inputs: dict[str, Tensor], dtype: torch.dtype, threads: int) -> list[Tensor]:
    """Output, mean, and the gradients of all inputs for fixed ones of both."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in inputs.items()}
        y, mean = ops.wide_residual(**leaves)
        grads = torch.autograd.grad(
            (y, mean), list(leaves.values()), (normal(*y.shape).to(y), normal(*mean.shape).to(y))
        )
        return [y.detach(), mean.detach(), *grads]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_unit_against_fp64(isa: str, shape: tuple[int, ...]) -> None:
    inputs = unit_inputs(shape)
    with use_backend(wide_residual="reference"):
        exact = unit(inputs, torch.float64, 1)
    for got, truth in zip(unit(inputs, torch.float32, 1), exact, strict=True):
        assert_near(got, truth, TRANSFORMED)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_unit_same_bits_for_any_number_of_threads(isa: str, shape: tuple[int, ...]) -> None:
    inputs = unit_inputs(shape)
    once = unit(inputs, torch.float32, 1)
    for threads in (2, 3, 8):
        assert all(torch.equal(a, b) for a, b in zip(unit(inputs, torch.float32, threads), once, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution_against_fp64(isa: str, shape: tuple[int, ...]) -> None:
    n, c, o, h, w = shape
    x, weight, bias = normal(n, c, h, w), normal(o, c, 3, 3).requires_grad_(), normal(o).requires_grad_()
    exact = F.conv2d(x.requires_grad_(), weight, bias, padding=1)
    grad = normal(*exact.shape, seed=2)
    truths = [exact.detach(), *torch.autograd.grad(exact, (x, weight, bias), grad)]
    single = [t.detach().float() for t in (x, weight, bias)]
    got = [fwd(*single), *bwd(grad.float(), *single, None, None, None, [True] * 3)]
    for result, truth in zip(got, truths, strict=True):
        assert_near(result, truth, TRANSFORMED)


def test_prepared_weights_give_the_same_bits() -> None:
    a = {name: tensor.float() for name, tensor in unit_inputs((2, 32, 128, 9, 13)).items()}
    prepared = ops.wide_residual.prepare(a["w1"], a["w2"])
    for got, expected in zip(ops.wide_residual(**a, prepared=prepared), ops.wide_residual(**a), strict=True):
        assert torch.equal(got, expected)


def test_weights_prepared_for_other_sizes_are_refused() -> None:
    a = {name: tensor.float() for name, tensor in unit_inputs((1, 32, 128, 4, 4)).items()}
    b = unit_inputs((1, 16, 64, 4, 4))
    with pytest.raises(ValueError, match="wide_residual: prepared was made from weights of other sizes"):
        ops.wide_residual(**a, prepared=ops.wide_residual.prepare(b["w1"], b["w2"]))
    with pytest.raises(TypeError, match="wide_residual: prepared must be what prepare"):
        ops.wide_residual(**a, prepared=a["w1"])


def relative_rms(got: Tensor, exact: Tensor) -> float:
    return ((got.double() - exact).square().mean() / exact.square().mean()).sqrt().item()


def in_bf16(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.bfloat16() for name, tensor in inputs.items()}


# A scale is a tile's: spikes, and wide channels twenty times as large as the others, take bits from all others there.
@pytest.mark.parametrize("kind", ["even", "spikes", "uneven channels"])
def test_unit_in_bf16_is_as_near_as_a_direct_convolution(isa: str, kind: str) -> None:
    inputs = unit_inputs((1, 32, 128, 46, 70))
    if kind == "spikes":
        inputs["x"][:, ::8, ::16, ::16] *= 30
    elif kind == "uneven channels":
        inputs["w1"][::8] *= 20
    rounded = in_bf16(inputs)
    exact = ops.wide_residual.reference(**{name: tensor.double() for name, tensor in rounded.items()})[0]
    direct = relative_rms(ops.wide_residual.reference(**rounded)[0], exact)
    assert relative_rms(ops.wide_residual(**rounded)[0], exact) <= 2 * direct


@pytest.mark.parametrize("channels", [(5,), (32,), (96,), (32, 64), (16, 48)], ids=str)
def test_convolution_in_bf16(isa: str, channels: tuple[int, ...]) -> None:
    maps = [normal(2, c, 9, 70).bfloat16() for c in channels]
    weight, bias = normal(20, sum(channels), 3, 3).bfloat16(), normal(20).bfloat16()
    exact = F.conv2d(torch.cat(maps, 1).double(), weight.double(), bias.double(), padding=1)
    direct = relative_rms(exact.bfloat16(), exact)
    assert relative_rms(fwd(maps[0], weight, bias, *maps[1:]), exact) <= 2 * direct


def test_sums_in_bf16_as_large_as_can_be(isa: str) -> None:
    """Values and weights of one sign and size: integers that were too large would overflow."""
    x, weight = torch.full((1, 128, 12, 12), 7e4).bfloat16(), torch.full((16, 128, 3, 3), 3e3).bfloat16()
    checkers = torch.ones(12, 12).bfloat16()
    checkers[::2, 1::2] = checkers[1::2, ::2] = -1
    for pattern in (1, -1, checkers):
        exact = F.conv2d((x * pattern).double(), weight.double(), padding=1)
        got = fwd(x * pattern, weight, torch.zeros(16).bfloat16())
        assert relative_rms(got, exact) < 1e-2


def test_unit_in_bf16_keeps_what_is_not_finite_in_its_tiles(isa: str) -> None:
    inputs = in_bf16(unit_inputs((1, 32, 128, 40, 40)))
    clean = ops.wide_residual(**inputs)[0]
    for wrong in (float("nan"), float("inf")):
        inputs["x"][0, 3, 20, 20] = wrong
        got = ops.wide_residual(**inputs)[0]
        assert not got[0, :, 20, 20].isfinite().any()
        near = torch.zeros(40, 40, dtype=torch.bool)
        near[12:29, 12:29] = True  # two convolutions, each with the tiles that its inputs touch
        assert torch.equal(got[..., ~near], clean[..., ~near])


def test_unit_of_zeros_in_bf16(isa: str) -> None:
    inputs = in_bf16(unit_inputs((1, 32, 128, 8, 8))) | {"x": torch.zeros(1, 32, 8, 8).bfloat16()}
    inputs["b1"] = torch.zeros(128).bfloat16()
    expected = (inputs["res_scale"].double() * inputs["gate"].double() * inputs["b2"].double())[..., None, None]
    torch.testing.assert_close(
        ops.wide_residual(**inputs)[0].double(), expected.expand(1, 32, 8, 8), rtol=8e-3, atol=1e-3
    )


def test_unit_in_bf16_same_bits_for_any_number_of_threads(isa: str) -> None:
    inputs = unit_inputs((2, 32, 128, 37, 141))
    once = unit(inputs, torch.bfloat16, 1)
    for threads in (2, 3, 8):
        assert all(torch.equal(a, b) for a, b in zip(unit(inputs, torch.bfloat16, threads), once, strict=True))
