"""What ``awms`` has beside the shared suite: the 8-bit store, and weights that were prepared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from suite import DTYPES, OpSuite, cases_of, laid_out
from torch import Tensor

from awsrn_fast import ops
from awsrn_fast.ops._cases import FLOOR, Case

# The store is the same whatever the kernel's size, and Triton's interpreter takes its time with 9x9.
SMALL = [case for case in cases_of("awms") if case.shapes["weight"][-1] < 9]


class AwmsSuite(OpSuite):
    op = "awms"

    @pytest.mark.parametrize("small", SMALL, ids=lambda case: case.name)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_levels(self, backend: str, small: Case, dtype: torch.dtype, device: str) -> None:
        """Nearest to fp64's, but where that lies between two by less than the arithmetic's error."""
        arguments = self.arguments(small, backend, dtype, device) | {"clamp": True}
        exact = {k: v.cpu().double() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        truth, same_dtype = (255 * ops.awms.reference(**a).cpu().double() for a in (exact, arguments))
        got = self.run(backend, **arguments, out_dtype=torch.uint8)
        assert got.dtype == torch.uint8 and got.shape == truth.shape
        allowed = 0.5 + 2 * (same_dtype - truth).abs().max() + 255 * FLOOR[dtype]
        assert (got.cpu().double() - truth).abs().max() <= allowed

    @pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
    def test_levels_are_rounded_as_images_are(self, backend: str, layout: str, device: str) -> None:
        values = np.float32([(i + 0.5) / 255 for i in range(255)] + [-0.1, 0, 1, 1.1, np.inf, -np.inf])
        shapes = {"x": (1, 4, 1, len(values)), "weight": (3, 4, 3, 3), "bias": (3,), "skip": (1, 3, 1, len(values))}
        arguments = self.arguments(
            Case("levels", shapes | {"out_shift": None}, {"scale": 1}), backend, torch.float32, device
        )
        arguments |= {k: torch.zeros_like(v) for k, v in arguments.items() if isinstance(v, Tensor)}
        arguments["x"] = laid_out(arguments["x"], layout)
        arguments["skip"] += torch.from_numpy(values).to(device)
        got = self.run(backend, **arguments, out_dtype=torch.uint8)
        expected = np.rint(np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8)
        of = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        assert got.is_contiguous(memory_format=of)
        assert all(np.array_equal(plane, expected) for plane in got.cpu()[0, :, 0].numpy())

    def test_levels_have_no_gradient(self, backend: str, device: str) -> None:
        arguments = self.arguments(SMALL[-1], backend, torch.float32, device)
        arguments["weight"].requires_grad_()
        with pytest.raises(ValueError, match=r"awms: out_dtype=torch.uint8 has no gradient; .* torch.no_grad"):
            self.run(backend, **arguments, out_dtype=torch.uint8)
        with torch.no_grad():
            assert self.run(backend, **arguments, out_dtype=torch.uint8).dtype == torch.uint8
        with pytest.raises(TypeError, match="awms: out_dtype must be None or torch.uint8, got torch.int8"):
            self.run(backend, **arguments, out_dtype=torch.int8)
