"""The CPU dwpw_attention by itself: every instruction set of this machine against fp64, whatever the threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import dwpw_attention
from awsrn_fast.ops._cpu import address, addresses, dtype_code

# N, C, D, H, W: channels and widths below, at and above a vector; rows in one strip and in several; one pixel; none.
SHAPES = [
    (1, 1, 1, 1, 1),
    (2, 5, 7, 3, 13),
    (1, 32, 32, 53, 48),
    (1, 17, 24, 9, 131),
    (1, 20, 3, 40, 1),
    (2, 4, 4, 1, 65),
    (0, 4, 2, 3, 3),
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 4e-3}
WEIGHTS = ("w_dw", "b_dw", "w_pw", "b_pw", "w_a", "b_a")


def inputs(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> dict[str, Tensor]:
    n, c, d, h, w = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int, fan_in: int = 1) -> Tensor:
        return torch.randn(size, generator=generator) / fan_in**0.5

    maps = {"x": normal(n, c, h, w), "residual": normal(n, d, h, w), "grad_y": normal(n, d, h, w)}
    maps = {k: v.to(dtype).contiguous(memory_format=layout) for k, v in maps.items()}
    weights = {"w_dw": normal(c, 1, 3, 3, fan_in=9), "b_dw": normal(c), "w_pw": normal(d, c, fan_in=c)}
    weights |= {"b_pw": normal(d), "w_a": normal(d, d, fan_in=d), "b_a": normal(d)}
    # The op's weights are of the maps' dtype, too: products of bfloat16 take them as they are.
    return maps | {k: v.to(dtype).float() for k, v in weights.items()}


def unset(size: torch.Size, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    return torch.full(size, float("nan"), dtype=dtype).contiguous(memory_format=layout)


def forward(a: dict[str, Tensor], layout: torch.memory_format, threads: int, residual: bool = True) -> Tensor:
    y = unset(a["grad_y"].shape, a["x"].dtype, layout)
    weights = addresses(*(a[name] for name in WEIGHTS))
    maps = address(a["residual"] if residual else None), address(y)
    native.cpu.dwpw_attention_fwd((*sizes(a, layout), threads), address(a["x"]), weights, *maps)
    return y


def backward(
    a: dict[str, Tensor], layout: torch.memory_format, threads: int, of_x: bool = True, of_weights: bool = True
) -> dict[str, Tensor]:
    grads = {"x": unset(a["x"].shape, a["x"].dtype, layout)} if of_x else {}
    if of_weights:
        grads |= {name: torch.full_like(a[name], float("nan")) for name in WEIGHTS}
    transposed = (a["w_pw"].t().contiguous(), a["w_a"].t().contiguous())
    given = (*addresses(a["grad_y"], a["x"]), addresses(*(a[name] for name in WEIGHTS)), *addresses(*transposed))
    results = addresses(*(grads.get(name) for name in ("x", *WEIGHTS)))
    native.cpu.dwpw_attention_bwd((*sizes(a, layout), threads), *given, *results)
    return grads


def sizes(a: dict[str, Tensor], layout: torch.memory_format) -> tuple[int, int, int, int, int, bool, int]:
    n, c, h, w = a["x"].shape
    return n, c, a["w_pw"].shape[0], h, w, layout == torch.channels_last, dtype_code(a["x"].dtype)


def exactly(a: dict[str, Tensor], residual: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and gradients of the reference in fp64."""
    leaves = {name: a[name].double().requires_grad_() for name in ("x", *WEIGHTS)}
    y = dwpw_attention.reference(*leaves.values(), a["residual"].double() if residual else None)
    return y, dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), a["grad_y"].double()), strict=True))


def assert_near(got: Tensor, exact: Tensor, tolerance: float, name: str) -> None:
    """Error within ``tolerance`` of the size of what was added up."""
    assert got.shape == exact.shape, name
    size = exact.abs().max().item() if exact.numel() else 0.0
    error = (got.double() - exact).abs()
    assert torch.all(error <= tolerance * max(size, 1)), f"{name}: error {error.max():.3g}, size {size:.3g}"


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_fp64(isa: str, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> None:
    a = inputs(shape, dtype, layout)
    y, gradients = exactly(a)
    # Products of bfloat16 round what lies between input and output, as the reference does.
    in_pairs = isa == "avx512_bf16" and dtype == torch.bfloat16 and layout == torch.channels_last
    rounding = ROUNDING[dtype] * (2 if in_pairs else 1)
    assert_near(forward(a, layout, 2), y, rounding, "y")
    without, _ = exactly(a, residual=False)
    assert_near(forward(a, layout, 2, residual=False), without, rounding, "y without residual")
    positions = shape[0] * shape[3] * shape[4]
    for name, got in backward(a, layout, 2).items():
        # Sums over the map come in fp32 whatever the maps are in; there the error grows with the root of the number.
        tolerance = rounding if name == "x" or in_pairs else 2e-6 * max(1, positions) ** 0.5
        assert_near(got, gradients[name], tolerance, f"gradient of {name}")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_same_bits_whatever_the_threads(layout: torch.memory_format) -> None:
    a = inputs((2, 24, 20, 75, 37), torch.float32, layout)
    one, *others = ([forward(a, layout, t), *backward(a, layout, t).values()] for t in (1, 2, 3, 8))
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.usefixtures("isa")
def test_each_half_of_the_gradients_alone() -> None:
    a = inputs((2, 6, 5, 60, 19), torch.float32, torch.channels_last)
    everything = backward(a, torch.channels_last, 2)
    halves = backward(a, torch.channels_last, 2, of_weights=False) | backward(a, torch.channels_last, 2, of_x=False)
    assert everything.keys() == halves.keys()
    assert all(torch.equal(everything[name], halves[name]) for name in everything)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_gates_at_their_ends(layout: torch.memory_format) -> None:
    """The gate of one position each, from exp's underflow to its overflow: a few 1e-7 off, never nan."""
    s = torch.linspace(-200, 200, 401)
    a = inputs((1, 1, 1, 1, 401), torch.float32, layout)
    a |= {"x": s.view(1, 1, 1, -1), "w_dw": torch.zeros(1, 1, 3, 3), "b_dw": torch.zeros(1), "b_pw": torch.ones(1)}
    a["w_dw"][0, 0, 1, 1] = 1
    a |= {"w_pw": torch.ones(1, 1), "w_a": torch.ones(1, 1), "b_a": -torch.ones(1)}
    y, _ = exactly(a, residual=False)
    got = forward(a, layout, 1, residual=False)
    assert ((got.double() - y).abs() <= 4e-7 * y.abs() + 1e-35).all()
    assert torch.isfinite(torch.cat([g.flatten() for g in backward(a, layout, 1).values()])).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_nan_stays_where_it_is(layout: torch.memory_format) -> None:
    a = inputs((1, 4, 3, 20, 40), torch.float32, layout)
    a["x"][0, 2, 10, 39] = float("nan")
    y, gradients = exactly(a)
    assert torch.equal(forward(a, layout, 2).isnan(), y.isnan())
    assert torch.equal(backward(a, layout, 2)["x"].isnan(), gradients["x"].isnan())


def test_wrong_sizes_are_refused() -> None:
    assert native.cpu is not None, native.cpu_reason
    given = (0, (0,) * 6)
    with pytest.raises(ValueError, match="dwpw_attention: threads must be at least 1"):
        native.cpu.dwpw_attention_fwd((0, 0, 0, 0, 0, False, native.cpu.FLOAT32, 0), *given, 0, 0)
    with pytest.raises(ValueError, match="dwpw_attention: a size is negative"):
        native.cpu.dwpw_attention_bwd((1, -1, 0, 0, 0, False, native.cpu.FLOAT32, 1), 0, *given, *[0] * 9)
    with pytest.raises(ValueError, match="dwpw_attention: unknown dtype"):
        native.cpu.dwpw_attention_fwd((0, 0, 0, 0, 0, False, 7, 1), *given, 0, 0)
