"""The native 3x3 convolutions alone: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import native, ops, use_backend
from awsrn_fast.ops._cases import TRANSFORMED
from awsrn_fast.ops.conv3x3.autograd import _bwd_cpu, _fwd_cpu

if native.cpu is None and native.cpu_reason.startswith("not built"):
    pytest.skip(native.cpu_reason, allow_module_level=True)

# N, C, wide, H, W: below, at and above a tile of 4, a chunk of 16 tiles and a panel; channels beside whole vectors.
SHAPES = [
    (1, 1, 3, 1, 1),
    (2, 5, 20, 6, 9),
    (1, 32, 128, 8, 12),
    (3, 17, 70, 23, 5),
    (1, 16, 32, 9, 141),
    (9, 3, 16, 21, 7),
]


@pytest.fixture(params=native.cpu.available_isas() if native.cpu else ["not loaded"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    assert native.cpu is not None, native.cpu_reason
    before = native.cpu.isa()
    native.cpu.set_isa(request.param)
    native.cpu.poison(True)
    yield request.param
    native.cpu.poison(False)
    native.cpu.set_isa(before)


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
    got = [_fwd_cpu(*single), *_bwd_cpu(grad.float(), *single, None, None, None, [True] * 3)]
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
