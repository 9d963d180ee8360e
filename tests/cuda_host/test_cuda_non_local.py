import pytest
import torch
from harness import cuda_on_cpu
from suite import OpSuite

from awsrn_fast import backends, ops
from awsrn_fast.ops._cases import Case


class TestNonLocalOnHost(OpSuite):
    op = "non_local"
    archs = (75,)


class TestNonLocalFromSm80(OpSuite):
    op = "non_local"
    archs = (80,)
    # The instances differ in their products alone, and this runs every one of them.
    test_layouts = test_inputs_stay_and_outputs_are_new = test_deterministic = test_wrong_arguments_are_named = None
    test_compiles_to_one_graph = test_schema = test_double_backward_raises = None


def test_vectors_longer_than_the_kernels_have_are_refused() -> None:
    shapes = {"x": (1, 4, 2, 2)}
    for name in ("theta", "phi", "g"):
        shapes |= {f"w_{name}": (65, 4), f"b_{name}": (65,)}
    arguments = Case("long", shapes | {"w_z": (4, 65), "b_z": (4,)}).make(torch.float32)
    with (
        cuda_on_cpu("non_local", 75),
        backends.use_backend(non_local="cuda"),
        pytest.raises(ValueError, match="non_local: D is 65, the CUDA kernels take up to 64"),
    ):
        ops.non_local(**arguments)
