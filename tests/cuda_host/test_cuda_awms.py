from __future__ import annotations

import pytest
import torch
from harness import cuda_on_cpu, instances
from suite import assert_accurate, forward_and_gradients, laid_out
from suite_awms import AwmsSuite

from awsrn_fast import backends, ops
from awsrn_fast.ops._cases import Case
from awsrn_fast.ops.awms.cuda import prepare


class TestAwmsOnHost(AwmsSuite):
    pass


def case(n: int, c: int, h: int, w: int, k: int, scale: int, planes: int) -> Case:
    out = planes * scale**2
    shapes = {"x": (n, c, h, w), "weight": (out, c, k, k), "bias": (out,), "skip": (n, out, h, w)}
    return Case(f"x{scale}, {c} -> {out}", shapes | {"out_shift": (planes,)}, {"scale": scale, "out_scale": 0.5})


# What the suite's small cases do not reach: several blocks down, across and of channels, whose cuts fall inside a plane
# of y, and more tiles than the weight's gradient has shares.
LARGE = [case(1, 40, 17, 18, 3, 5, 3), case(2, 8, 9, 5, 1, 8, 3), case(2, 8, 100, 33, 1, 1, 7)]


@pytest.mark.parametrize(("arch", "dtype"), instances())
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_many_blocks(case: Case, layout: str, arch: int, dtype: torch.dtype) -> None:
    arguments = case.make(dtype)
    arguments["x"] = laid_out(arguments["x"], layout)
    exact = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with cuda_on_cpu("awms", arch), backends.use_backend(awms="cuda"):
        got = forward_and_gradients(ops.awms, arguments)
    reference = ops.awms.reference
    assert_accurate(got, forward_and_gradients(reference, arguments), forward_and_gradients(reference, exact))


def test_an_input_off_its_alignment() -> None:
    arguments = case(1, 8, 3, 4, 3, 2, 3).make(torch.float16)
    room = torch.zeros(arguments["x"].numel() + 1, dtype=torch.float16)
    shifted = room[1:].view(1, 3, 4, 8).permute(0, 3, 1, 2).copy_(arguments["x"])
    with cuda_on_cpu("awms", 75), backends.use_backend(awms="cuda"):
        expected = ops.awms(**arguments)
        assert torch.equal(ops.awms(**arguments | {"x": shifted}), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_prepared_weights_give_the_same_bits(dtype: torch.dtype) -> None:
    arguments = case(1, 20, 3, 4, 3, 4, 3).make(dtype)
    with cuda_on_cpu("awms", 75), backends.use_backend(awms="cuda"):
        expected = ops.awms(**arguments)
        prepared = prepare(arguments["weight"])
        assert torch.equal(ops.awms(**arguments, prepared=prepared), expected)
        # Of another order, as after a cast of the module, or of the native kernels: converted anew.
        for other in (prepared.double(), torch.zeros(5), torch.zeros(4, dtype=torch.uint8)):
            assert torch.equal(ops.awms(**arguments, prepared=other), expected)
        arguments["weight"].zero_()
        assert torch.equal(ops.awms(**arguments, prepared=prepared), expected)


def test_a_gradient_alone_is_the_same() -> None:
    arguments = case(2, 8, 5, 4, 3, 2, 3).make(torch.float16)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]

    def gradients(wanted: list[str]) -> tuple[torch.Tensor, ...]:
        leaves = {name: arguments[name].clone().requires_grad_() for name in wanted}
        return torch.autograd.grad(ops.awms(**arguments | leaves).square().sum(), list(leaves.values()))

    with cuda_on_cpu("awms", 75), backends.use_backend(awms="cuda"):
        for name, together in zip(names, gradients(names), strict=True):
            assert torch.equal(gradients([name])[0], together), name


@pytest.mark.parametrize(
    ("outputs", "tiles"), [(1, 2), (12, 2), (17, 4), (27, 4), (32, 4), (48, 6), (64, 4), (75, 6), (192, 6)]
)
def test_tiles(outputs: int, tiles: int) -> None:
    with cuda_on_cpu("awms", 75) as module:
        assert module.awms_tiles(outputs) == tiles
