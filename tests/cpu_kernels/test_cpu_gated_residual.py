"""The CPU gated_residual by itself: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import gated_residual
from awsrn_fast.ops._cpu import address, dtype_code

# Channels below, at and above a vector; maps of one value, with a rest, and of several chunks.
SHAPES = [(1, 1, 1), (2, 5, 91), (1, 32, 2304), (1, 48, 700), (2, 3, 20000), (1, 16, 0), (0, 4, 9)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 4e-3}


def inputs(shape: tuple[int, int, int], dtype: torch.dtype, layout: torch.memory_format) -> dict[str, Tensor]:
    n, c, hw = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    maps = {k: normal(n, c, hw, 1).to(dtype).contiguous(memory_format=layout) for k in ("x", "f", "grad_y")}
    return maps | {"gate": normal(n, c), "grad_mean": normal(n, c), "x_scale": normal(1), "res_scale": normal(1)}


def forward(a: dict[str, Tensor], gate: Tensor | None, layout: torch.memory_format, threads: int) -> list[Tensor]:
    x = a["x"]
    y = torch.full(x.shape, float("nan"), dtype=x.dtype).contiguous(memory_format=layout)
    mean = torch.full(x.shape[:2], float("nan"))
    tensors = (x, a["f"], gate, a["x_scale"], a["res_scale"], y, mean)
    native.cpu.gated_residual_fwd((*sizes(x, layout), threads), *map(address, tensors))
    return [y, mean]


def backward(a: dict[str, Tensor], gate: Tensor | None, layout: torch.memory_format, threads: int) -> list[Tensor]:
    x = a["x"]
    grads = [torch.full(x.shape, float("nan"), dtype=x.dtype).contiguous(memory_format=layout) for _ in range(2)]
    grads += [torch.full(size, float("nan")) for size in (x.shape[:2], (1,), (1,))]
    tensors = (a["grad_y"], a["grad_mean"], x, a["f"], gate, a["x_scale"], a["res_scale"], *grads)
    native.cpu.gated_residual_bwd((*sizes(x, layout), threads), *map(address, tensors))
    return grads if gate is not None else [*grads[:2], *grads[3:]]


def sizes(x: Tensor, layout: torch.memory_format) -> tuple[int, int, int, bool, int]:
    return *x.shape[:2], x.shape[2], layout == torch.channels_last, dtype_code(x.dtype)


def exactly(a: dict[str, Tensor], gate: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and gradients of the reference in fp64."""
    leaves = [None if t is None else t.double().requires_grad_() for t in (a["x"], a["f"], gate, a["x_scale"])]
    leaves.append(a["res_scale"].double().requires_grad_())
    outputs = gated_residual.reference(*leaves)
    given = [a["grad_y"].double(), a["grad_mean"].double()]
    gradients = torch.autograd.grad(outputs, [leaf for leaf in leaves if leaf is not None], given)
    return list(outputs), list(gradients)


def assert_near(got: Tensor, exact: Tensor, tolerance: float) -> None:
    """Error within ``tolerance`` of the size of what was added up; nan where the reference is nan."""
    size = exact.nan_to_num().abs().max().item() if exact.numel() else 0.0
    torch.testing.assert_close(got.double(), exact, rtol=tolerance, atol=tolerance * max(size, 1), equal_nan=True)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("gated", [True, False], ids=["gate", "no gate"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_fp64(
    shape: tuple[int, int, int], dtype: torch.dtype, layout: torch.memory_format, gated: bool
) -> None:
    a = inputs(shape, dtype, layout)
    gate = a["gate"] if gated else None
    outputs, gradients = exactly(a, gate)
    for got, exact in zip(
        [*forward(a, gate, layout, 2), *backward(a, gate, layout, 2)], [*outputs, *gradients], strict=True
    ):
        # Sums come in fp32 whatever the maps are in; there the error grows with the root of what is added up.
        tolerance = ROUNDING[got.dtype] if got.dim() == 4 else 1e-6 * max(1, shape[2]) ** 0.5
        assert_near(got, exact, tolerance)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_same_bits_whatever_the_threads(layout: torch.memory_format) -> None:
    a = inputs((2, 24, 3001), torch.float32, layout)
    one, *others = ([*forward(a, a["gate"], layout, t), *backward(a, a["gate"], layout, t)] for t in (1, 2, 3, 8))
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.usefixtures("isa")
def test_rounds_to_bfloat16_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (1, 1, 4096, 1), generator=generator).to(torch.int32)
    edges = torch.tensor([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0x7FFFFFFF, 0x00000001], dtype=torch.int32)
    bits[0, 0, : len(edges), 0] = edges
    scale = bits.view(torch.float32)
    for value in scale.flatten().split(1)[:512]:  # the scale is fp32: with x = 1 the kernel stores it rounded
        a = {"x": torch.ones(1, 1, 1, 1, dtype=torch.bfloat16), "f": torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16)}
        y, _ = forward(a | {"x_scale": value, "res_scale": torch.zeros(1)}, None, torch.contiguous_format, 1)
        torch.testing.assert_close(y.flatten(), value.bfloat16(), rtol=0, atol=0, equal_nan=True)


def test_wrong_sizes_are_refused() -> None:
    assert native.cpu is not None, native.cpu_reason
    with pytest.raises(ValueError, match="gated_residual: threads must be at least 1"):
        native.cpu.gated_residual_fwd((0, 0, 0, False, native.cpu.FLOAT32, 0), *[0] * 7)
    with pytest.raises(ValueError, match="gated_residual: a size is negative"):
        native.cpu.gated_residual_fwd((-1, 0, 0, False, native.cpu.FLOAT32, 1), *[0] * 7)


def test_a_wrong_number_of_arguments_is_an_error_not_a_null() -> None:
    assert native.cpu is not None, native.cpu_reason
    shape = (0, 0, 0, False, native.cpu.FLOAT32, 1)
    with pytest.raises(TypeError, match="8 arguments are needed, got 7"):
        native.cpu.gated_residual_fwd(shape, *[0] * 6)
    with pytest.raises(TypeError, match="6 arguments are needed, got 5"):
        native.cpu.gated_residual_fwd(shape[:-1], *[0] * 7)
    with pytest.raises(TypeError, match="int"):
        native.cpu.gated_residual_fwd(shape, "x", *[0] * 6)
