"""The CPU awms by itself: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import native, ops
from awsrn_fast.ops._cases import TRANSFORMED
from awsrn_fast.ops._cpu import address, dtype_code
from awsrn_fast.ops._cpu import taps as kernel_taps

# N, C, O, H, W: maps below, at and above a tile of 12; channels below, at and above a vector; several groups of tiles.
SHAPES = [
    (1, 1, 4, 1, 1),
    (2, 5, 12, 11, 13),
    (1, 32, 48, 24, 36),
    (3, 17, 27, 25, 7),
    (1, 16, 12, 26, 790),
    (5, 3, 12, 37, 40),
]


def inputs(shape: tuple[int, ...], dtype: torch.dtype, k: int = 9) -> dict[str, Tensor]:
    n, c, o, h, w = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    maps = {"x": normal(n, c, h, w), "grad": normal(n, o, h, w)}
    maps = {name: t.to(dtype).contiguous(memory_format=torch.channels_last) for name, t in maps.items()}
    return maps | {"weight": normal(o, c, k, k) / (c * k * k) ** 0.5}


def sizes(a: dict[str, Tensor], threads: int) -> tuple[int, ...]:
    n, c, h, w = a["x"].shape
    return n, c, a["weight"].shape[0], h, w, dtype_code(a["x"].dtype), threads


def convolve(a: dict[str, Tensor], threads: int) -> Tensor:
    y = torch.full_like(a["grad"], float("nan"))
    taps, k = kernel_taps(a["weight"]), a["weight"].shape[-1]
    native.cpu.awms_conv(sizes(a, threads), k, *map(address, (a["x"], taps, y)))
    return y


def weight_gradient(a: dict[str, Tensor], threads: int) -> tuple[Tensor, Tensor]:
    c, o = sizes(a, threads)[1:3]
    taps, sums = torch.full((9, 9, c, o), float("nan")), torch.full((o,), float("nan"))
    tensors = (a["x"], a["grad"], taps, sums)
    native.cpu.awms_grad_weight(sizes(a, threads), *map(address, tensors))
    return taps.permute(3, 2, 0, 1), sums


def assert_near(got: Tensor, exact: Tensor, bound: float) -> None:
    error = (got.double() - exact).abs().max().item()
    rms = exact.square().mean().sqrt().item()
    assert error <= bound * max(rms, 1e-3), f"error {error:.3g}, rms {rms:.3g}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_fp64(isa: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    a = inputs(shape, dtype)
    x, weight, grad = a["x"].double(), a["weight"].double().requires_grad_(), a["grad"].double()
    exact = F.conv2d(x, weight, padding=4)
    rounding = 0 if dtype == torch.float32 else 4e-3 * exact.abs().max().item() / exact.square().mean().sqrt().item()
    assert_near(convolve(a, 1), exact.detach(), TRANSFORMED + rounding)
    taps, sums = weight_gradient(a, 1)
    (exact_taps,) = torch.autograd.grad(exact, weight, grad)
    # A sum over the map; one of few values may come near zero, so a fourfold bound.
    assert_near(taps, exact_taps, 4 * TRANSFORMED)
    assert_near(sums, grad.sum((0, 2, 3)), 1e-5)


@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_smaller_kernels(isa: str, k: int) -> None:
    a = inputs((1, 6, 12, 15, 14), torch.float32, k)
    assert_near(convolve(a, 1), F.conv2d(a["x"].double(), a["weight"].double(), padding=k // 2), TRANSFORMED)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_bits_for_any_number_of_threads(isa: str, shape: tuple[int, ...]) -> None:
    a = inputs(shape, torch.float32)
    y, (taps, sums) = convolve(a, 1), weight_gradient(a, 1)
    for threads in (2, 3, 8):
        assert torch.equal(convolve(a, threads), y)
        again = weight_gradient(a, threads)
        assert torch.equal(again[0], taps)
        assert torch.equal(again[1], sums)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"n": -1}, "a size is negative"), ({"dtype": 7}, "unknown dtype"), ({"threads": 0}, "threads")],
)
def test_bad_sizes_are_refused(changed: dict[str, int], said: str) -> None:
    assert native.cpu is not None, native.cpu_reason
    sizes = {"n": 1, "c": 1, "o": 4, "h": 1, "w": 1, "dtype": native.cpu.FLOAT32, "threads": 1}
    with pytest.raises(ValueError, match=f"awms: .*{said}"):
        native.cpu.awms_conv(tuple((sizes | changed).values()), 9, 0, 0, 0)


@pytest.mark.parametrize("k", [2, 11])
def test_kernels_it_does_not_have_are_refused(k: int) -> None:
    assert native.cpu is not None, native.cpu_reason
    with pytest.raises(ValueError, match="odd and at most 9"):
        native.cpu.awms_conv((1, 1, 4, 1, 1, native.cpu.FLOAT32, 1), k, 0, 0, 0)


def test_prepared_weights_give_the_same_bits() -> None:
    a = inputs((2, 32, 48, 9, 13), torch.float32)
    arguments = (a["x"], a["weight"], torch.ones(48), None, 4)
    prepared = ops.awms.prepare(a["weight"])
    assert torch.equal(ops.awms(*arguments, prepared=prepared), ops.awms(*arguments))
    with pytest.raises(ValueError, match="awms: prepared was made from a weight of other sizes"):
        ops.awms(*arguments, prepared=ops.awms.prepare(a["weight"][:12]))
    # As after a move of the module from a GPU.
    assert torch.equal(ops.awms(*arguments, prepared=torch.zeros(5)), ops.awms(*arguments))
