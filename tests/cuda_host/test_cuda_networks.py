"""How many of the package's kernels a whole network launches on CUDA; they are counted, not run. PyTorch's are not."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from harness import cuda_on_cpu

from awsrn_fast import backends, ops
from awsrn_fast.models import create


@pytest.mark.parametrize(("variant", "most"), [("improved-s", 30), ("improved-full", 90)])
def test_launches_of_a_network(variant: str, most: int) -> None:
    model = create(variant, 4).fuse().half()
    with ExitStack() as stack, torch.no_grad():
        for op in ops.ROWS:
            module = stack.enter_context(cuda_on_cpu(op, 75))
        stack.enter_context(backends.use_backend("cuda"))
        module.set_running(False)
        module.take_launch_count()
        model(torch.zeros(1, 3, 32, 32, dtype=torch.float16))
        assert 0 < module.take_launch_count() <= most
