"""What holds for the Triton backend of every op: reasons, errors, and an import that CPU runs do not pay."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from suite import as_tuple, cases_of
from torch._subclasses.fake_tensor import FakeTensorMode

import awsrn_fast
from awsrn_fast import backends, ops
from awsrn_fast.backends import Call
from awsrn_fast.ops import _triton

ROWS = [op for op in ops.ROWS if "triton" in backends.registered(op)]
PRODUCTS = {"wide_residual", "gated_pair", "conv3x3", "dwpw_attention", "non_local", "awms"}
SHAPE = (1, 32, 48, 48)


@pytest.fixture(autouse=True)
def _no_interpreter() -> None:
    if _triton.INTERPRETED:
        pytest.skip("TRITON_INTERPRET=1")


@pytest.mark.parametrize("op", ROWS)
def test_reasons_are_named(op: str) -> None:
    def reasons(device: str, capability: tuple[int, int] | None, dtype: torch.dtype, shape=SHAPE) -> str:
        return "; ".join(backends.reasons_against(op, "triton", Call(device, capability, dtype, shape)))

    assert reasons("cuda", (8, 6), torch.bfloat16) == ""
    assert reasons("xpu", None, torch.float16) == ""
    assert "tensors on cpu (GPU only)" in reasons("cpu", None, torch.float32)
    assert "float64 (float32, float16 and bfloat16 only)" in reasons("cuda", (8, 0), torch.float64)
    assert "compute capability 7.0 (7.5 and later only)" in reasons("cuda", (7, 0), torch.float16)
    assert "bfloat16 on compute capability 7.5 (8.0 and later only)" in reasons("cuda", (7, 5), torch.bfloat16)
    assert "more than 2147483647 pixels" in reasons("cuda", (8, 0), torch.float16, (1, 1, 2**16, 2**15))
    assert ("no tensor cores" in reasons("cuda", (7, 5), torch.float16)) == (op in PRODUCTS)


@pytest.mark.parametrize("op", ROWS)
def test_turing_has_the_kernels_without_products(op: str) -> None:
    explanation = awsrn_fast.explain(op, Call("cuda", (7, 5), torch.float16, SHAPE))
    against = "; ".join(explanation.against.get("triton", []))
    assert ("no tensor cores from Triton on compute capability 7.5" in against) == (op in PRODUCTS)
    assert (explanation.chosen == "triton" or "comes first" in against) == (op not in PRODUCTS)


@pytest.mark.parametrize("op", ROWS)
def test_fake_cuda_tensors(op: str) -> None:
    """Outputs are on the device; a wrong call gets the same sentence from every backend. (No gradients: CPU torch's
    autograd ends the process on them. The suite has opcheck's under the interpreter.)"""
    with FakeTensorMode(), torch.no_grad(), backends.as_if_on("cuda", (8, 0)):
        arguments = dict(cases_of(op)[0].options)
        for name, shape in cases_of(op)[0].shapes.items():
            arguments[name] = None if shape is None else torch.empty(shape, device="cuda", dtype=torch.float16)
        if op != "non_local":  # whose projections are PyTorch's own, and need a CUDA build
            with backends.use_backend("triton"):
                outputs = as_tuple(ops.ROWS[op](**arguments))
            assert all(output.device.type == "cuda" and output.dtype == torch.float16 for output in outputs)
        # Made anew, since views of fake CUDA tensors need a CUDA build.
        name = list(cases_of(op)[0].shapes)[1]
        value = arguments[name]
        deeper = torch.empty((1, *value.shape), device="cuda", dtype=value.dtype)
        for wrong in (deeper, torch.empty(value.shape, device="cuda"), torch.empty(value.shape), 1.0):
            sentences = set()
            for backend in backends.registered(op):
                with backends.use_backend(backend), pytest.raises((TypeError, ValueError)) as error:
                    ops.ROWS[op](**(arguments | {name: wrong}))
                sentences.add(str(error.value))
            assert len(sentences) == 1 and f"{op}: {name} " in sentences.pop()


def test_triton_is_imported_at_the_first_launch() -> None:
    code = "import sys, awsrn_fast; sys.exit('triton' in sys.modules or 'torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
