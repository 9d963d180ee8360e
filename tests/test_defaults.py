"""Another default dtype or device of PyTorch, set by the user or another library, changes no result.

Buffers for native code above all: one of another dtype than the kernel's is written beyond its end.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from suite import cases_of, forward_and_gradients
from torch import Tensor

import awsrn_fast
from awsrn_fast import ops

ROOT = Path(__file__).resolve().parents[1]
MAKE = ("empty", "empty_strided", "zeros", "ones", "full", "arange", "linspace", "logspace", "eye", "tensor")
MAKE += ("as_tensor", "scalar_tensor", "rand", "randn", "randint", "randperm")
WITHOUT_DEVICE = {"awsrn_fast/memory/prediction.py"}  # it counts a device's bytes, whichever the mode around it sets


@pytest.fixture(params=["float64", "bfloat16", "float16", "meta"])
def default(request: pytest.FixtureRequest) -> Iterator[None]:
    """Called, it sets one of the defaults until the test's end."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()

    def set_it() -> None:
        if request.param == "meta":
            torch.set_default_device("meta")
        else:
            torch.set_default_dtype(getattr(torch, request.param))

    yield set_it
    torch.set_default_dtype(dtype)
    torch.set_default_device(None if device.type == "cpu" else device)


@pytest.mark.parametrize("op", ops.ROWS)
def test_ops(op: str, default) -> None:
    arguments = cases_of(op)[0].make(torch.float32)
    plain = forward_and_gradients(ops.ROWS[op], arguments)
    seeds = [torch.ones_like(value) for name, value in plain.items() if name.startswith("output")]
    functions = (ops.ROWS[op], ops.ROWS[op].reference)
    expected = [forward_and_gradients(function, arguments, seeds) for function in functions]
    default()
    for function, results in zip(functions, expected, strict=True):
        got = forward_and_gradients(function, arguments, seeds)
        assert all(torch.equal(got[name], result) for name, result in results.items())


@pytest.mark.parametrize("variant", ["improved-s-x4", "awsrn-s-x4"])
def test_network(variant: str, default) -> None:
    network = awsrn_fast.load(variant)
    generator = torch.Generator().manual_seed(0)
    x, wanted = torch.rand(1, 3, 9, 14, generator=generator), torch.rand(1, 3, 36, 56, generator=generator)
    image = (255 * x[0].permute(1, 2, 0)).byte().numpy()

    def results() -> list[Tensor | np.ndarray]:
        with torch.no_grad():
            whole, fused, tiled = network(x), network.fuse()(x), network.upscale(image, tile=8)
        network.zero_grad()
        torch.nn.functional.l1_loss(network.train()(x), wanted).backward()
        torch.optim.SGD(network.parameters(), lr=1e-3).step()
        trained = network.eval()(x).detach()
        return [whole, fused, tiled, *(p.grad for p in network.parameters()), trained]

    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = [result.clone() if isinstance(result, Tensor) else result for result in results()]
    network.load_state_dict(state)
    default()
    for got, result in zip(results(), expected, strict=True):
        assert torch.equal(got, result) if isinstance(result, Tensor) else np.array_equal(got, result)


@pytest.mark.parametrize("path", sorted(ROOT.glob("awsrn_fast/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_new_tensors_name_dtype_and_device(path: Path) -> None:
    """But where a module makes its parameters and buffers: these take the defaults, as those of torch.nn do."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inits = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    exempt = {id(call) for function in inits for call in ast.walk(function)}
    bare = []
    for call in ast.walk(tree):
        made = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in MAKE
        if not made or id(call) in exempt or ast.unparse(call.func.value) != "torch":
            continue
        needed = {"dtype"} if str(path.relative_to(ROOT)) in WITHOUT_DEVICE else {"dtype", "device"}
        lacking = needed - {keyword.arg for keyword in call.keywords}
        if lacking:
            bare.append(f"line {call.lineno}: {ast.unparse(call)} lacks {', '.join(sorted(lacking))}")
    assert not bare
