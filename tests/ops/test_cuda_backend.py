"""What holds for the CUDA backend of every op: reasons, errors, streams, devices, graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from suite import as_tuple, cases_of

from awsrn_fast import backends, native, ops
from awsrn_fast.backends import Call

ROWS = [op for op in ops.ROWS if "cuda" in backends.registered(op)]


@pytest.fixture(autouse=True)
def _library() -> None:
    if native.cuda is None:
        pytest.skip(native.cuda_reason)


def half_case(op: str, device: str = "cuda") -> dict[str, Any]:
    return cases_of(op)[0].make(torch.float16, device)


def run(op: str, arguments: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    with backends.use_backend(**{op: "cuda"}):
        return as_tuple(ops.ROWS[op](**arguments))


@pytest.mark.parametrize("op", ROWS)
def test_reasons_are_named(op: str) -> None:
    shape = tuple(next(iter(half_case(op, "cpu").values())).shape)

    def reasons(device: str, capability: tuple[int, int] | None, dtype: torch.dtype) -> str:
        return "; ".join(backends.reasons_against(op, "cuda", Call(device, capability, dtype, shape)))

    assert reasons("cuda", (7, 5), torch.float16) == ""
    assert reasons("cuda", (8, 6), torch.bfloat16) == ""
    assert "tensors on cpu (CUDA only)" in reasons("cpu", None, torch.float32)
    assert "bfloat16 on compute capability 7.5 (8.0 and later only)" in reasons("cuda", (7, 5), torch.bfloat16)
    assert "compute capability 7.0 (7.5 and later only)" in reasons("cuda", (7, 0), torch.float16)
    assert "float64 (float32, float16 and bfloat16 only)" in reasons("cuda", (7, 5), torch.float64)


def test_a_launch_that_fails_names_the_op() -> None:
    x, one, mean = torch.zeros(1, 4, 2, 2), torch.ones(1), torch.zeros(1, 4)
    y, workspace, no_such_device = torch.zeros_like(x), torch.zeros(64), 1000
    values = ((0, False), (one.data_ptr(), True), (one.data_ptr(), True))
    of_maps, results = ([tensor.data_ptr() for tensor in tensors] for tensors in ((x, x), (y, mean, workspace)))
    what = ((1, 4, 4, False), *of_maps, *values, *results)
    with pytest.raises(RuntimeError, match="gated_residual: CUDA launch failed: "):
        native.cuda.gated_residual_fwd(what, native.cuda.FLOAT32, (no_such_device, 0, 75))


@pytest.mark.gpu
@pytest.mark.parametrize("op", ROWS)
class TestOnAGpu:
    def test_runs_on_the_current_stream(self, op: str) -> None:
        arguments = half_case(op)
        expected = run(op, arguments)
        name, value = next((k, v) for k, v in arguments.items() if isinstance(v, torch.Tensor))
        late = torch.zeros_like(value)
        stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)  # on any other stream the kernel would see the zeros
            late.copy_(value)
            got = run(op, arguments | {name: late})
        stream.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))

    def test_a_graph_captures_forward_and_backward(self, op: str) -> None:
        arguments = {k: v.requires_grad_() if isinstance(v, torch.Tensor) else v for k, v in half_case(op).items()}
        leaves = [v for v in arguments.values() if isinstance(v, torch.Tensor)]

        def step() -> list[torch.Tensor]:
            outputs = run(op, arguments)
            total = sum(output.float().square().sum() for output in outputs)
            return [*(output.detach() for output in outputs), *torch.autograd.grad(total, leaves)]

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step()
        with torch.no_grad():
            leaves[0].mul_(0.5)
        graph.replay()
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))

    def test_runs_on_the_tensors_device(self, op: str) -> None:
        if torch.cuda.device_count() < 2:
            pytest.skip("needs two CUDA GPUs")
        expected, got = run(op, half_case(op)), run(op, half_case(op, "cuda:1"))
        assert torch.cuda.current_device() == 0
        assert all(output.device.index == 1 for output in got)
        for first, second in zip(expected, got, strict=True):
            torch.testing.assert_close(first, second.to(first.device), rtol=1e-2, atol=1e-2)
