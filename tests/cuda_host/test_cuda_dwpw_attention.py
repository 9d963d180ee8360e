from __future__ import annotations

import pytest
import torch
from harness import cuda_on_cpu
from suite import OpSuite, assert_accurate, forward_and_gradients

from awsrn_fast import backends, ops
from awsrn_fast.ops._cases import Case


class TestDwpwAttentionOnHost(OpSuite):
    op = "dwpw_attention"


def case(n: int, c: int, h: int, w: int, d: int) -> Case:
    shapes = {"x": (n, c, h, w), "w_dw": (c, 1, 3, 3), "b_dw": (c,), "w_pw": (d, c), "b_pw": (d,), "w_a": (d, d)}
    return Case(f"{c} -> {d}", shapes | {"b_a": (d,), "residual": (n, d, h, w)})


def run(arguments: dict[str, torch.Tensor], arch: int = 75) -> dict[str, torch.Tensor]:
    with cuda_on_cpu("dwpw_attention", arch), backends.use_backend(dwpw_attention="cuda"):
        return forward_and_gradients(ops.dwpw_attention, arguments)


@pytest.mark.parametrize(
    ("case", "kernel"),
    [
        (case(73, 8, 1, 1, 40), "bwd_kernel"),
        pytest.param(case(80, 8, 17, 3, 8), "bwd_depthwise", marks=pytest.mark.slow),
    ],
    ids=["tiles", "strips"],
)
def test_more_tiles_than_blocks(case: Case, kernel: str) -> None:
    """A block then adds the weights' gradients of several tiles, or of several strips of the depthwise pass."""
    arguments = case.make(torch.float16)
    with cuda_on_cpu("dwpw_attention", 75) as module:
        module.take_launches()
        got = run(arguments)
        blocks = next(blocks for _, name, blocks, *_ in module.take_launches() if kernel in name)
    n, _, h, _ = case.shapes["x"]
    assert blocks < n * -(-h // 8)
    exact = {name: value.double() for name, value in arguments.items()}
    reference = ops.dwpw_attention.reference
    assert_accurate(got, forward_and_gradients(reference, arguments), forward_and_gradients(reference, exact))


@pytest.mark.parametrize("wanted", [["x"], ["w_pw"], ["b_dw", "residual"]], ids="-".join)
def test_gradients_that_are_not_wanted(wanted: list[str]) -> None:
    arguments = case(1, 40, 3, 5, 8).make(torch.float32)
    every = run(arguments)
    leaves = {name: arguments[name].clone().requires_grad_() for name in wanted}
    seed = torch.randn(1, 8, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    with cuda_on_cpu("dwpw_attention", 75), backends.use_backend(dwpw_attention="cuda"):
        y = ops.dwpw_attention(**arguments | leaves)
        gradients = torch.autograd.grad((y * seed).sum(), list(leaves.values()))
    for name, gradient in zip(wanted, gradients, strict=True):
        assert torch.equal(gradient, every[f"gradient of {name}"])


def test_inputs_off_their_alignment() -> None:
    arguments = case(1, 8, 3, 4, 16).make(torch.float16)
    shifted = {}
    for name, value in arguments.items():
        room = torch.zeros(value.numel() + 1, dtype=value.dtype)
        dense = value.permute(0, 2, 3, 1) if name in ("x", "residual") else value
        moved = room[1:].view(dense.shape).copy_(dense)
        shifted[name] = moved.permute(0, 3, 1, 2) if name in ("x", "residual") else moved
        assert shifted[name].data_ptr() % 16
    expected, got = run(arguments), run(shifted)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


FRAGMENT = 128


@pytest.mark.parametrize(
    ("arch", "side", "slices", "strips"), [(75, 48, 18, 18), (75, 2048, 2 * 72, 3 * 72), (86, 2048, 2 * 132, 2 * 132)]
)
def test_backwards_cut_depends_on_shape_and_architecture(arch: int, side: int, slices: int, strips: int) -> None:
    """At 32 channels: two times 2 x 5 fragments of the products' weights and biases a slice, 10 x 32 sums a strip."""
    with cuda_on_cpu("dwpw_attention", arch) as module:
        floats = module.dwpw_attention_bwd_workspace((1, 32, 32, side, side), module.FLOAT16, arch)
    assert floats == slices * 2 * (2 * 5) * FRAGMENT + strips * 10 * 32
