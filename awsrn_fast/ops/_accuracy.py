"""The definition of "correct" for an op, used by the tests and by ``python -m awsrn_fast.selftest``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from awsrn_fast.ops._cases import FLOOR, TRANSFORMED


class Deviation(NamedTuple):
    """Error of one result against the fp64 reference."""

    name: str
    error: float
    allowed: float
    rms: float

    @property
    def share(self) -> float:
        """The error as a share of the allowed one; more than 1 or NaN is wrong."""
        return self.error / self.allowed if self.allowed else self.error and float("inf")

    @property
    def right(self) -> bool:
        return self.error <= self.allowed

    def __str__(self) -> str:
        return f"{self.name}: error {self.error:.3g}, allowed {self.allowed:.3g}, rms {self.rms:.3g}"


def forward_and_gradients(
    function: Callable[..., Any], arguments: Mapping[str, Any], seeds: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """Outputs and the gradient of every tensor argument, for fixed gradients of the outputs."""
    leaves = {k: v.detach().requires_grad_() for k, v in arguments.items() if isinstance(v, Tensor)}
    result = function(**{**arguments, **leaves})
    outputs = result if isinstance(result, tuple) else (result,)
    if seeds is None:
        generator = torch.Generator().manual_seed(1)
        seeds = [torch.randn(o.shape, generator=generator, dtype=torch.float64, device="cpu") for o in outputs]
    total = sum((o * s.to(o)).sum() for o, s in zip(outputs, seeds, strict=True))
    gradients = torch.autograd.grad(total, list(leaves.values()))
    named = {f"output {i}": o.detach() for i, o in enumerate(outputs)}
    return named | {f"gradient of {k}": g for k, g in zip(leaves, gradients, strict=True)}


def deviations(
    got: Mapping[str, Tensor], same_dtype: Mapping[str, Tensor], exact: Mapping[str, Tensor], transformed: bool = False
) -> list[Deviation]:
    """Errors of all results that have values, by flash-attention's rule: twice the error of plain PyTorch in the same
    dtype is allowed, and a floor relative to the truth's rms.

    Args:
        got, same_dtype, exact: results by name: of the kernel, of the reference in the kernel's dtype and in fp64.
        transformed: the kernel's algorithm transforms its inputs, as Winograd does, with a bound of its own in fp32.
    """
    largest = max((truth.abs().max().item() for truth in exact.values() if truth.numel()), default=0.0)
    found = []
    for name, truth in exact.items():
        if got[name].shape != truth.shape:
            found.append(Deviation(f"{name} of shape {list(got[name].shape)}", float("nan"), 0.0, 0.0))
            continue
        if truth.numel() == 0:
            continue
        error = (got[name].double() - truth).abs().max().item()
        rms = truth.square().mean().sqrt().item()
        # A sum that is 0 up to rounding, as non_local's gradient of b_phi: one order of summation may happen to be more
        # exact, or quite exact with a single key. The terms that cancel are as large as other results.
        cancels = rms < 1e-9 * largest
        allowed = (4 if cancels else 2) * (same_dtype[name].double() - truth).abs().max().item()
        allowed += FLOOR[got[name].dtype] * max(rms, 0.1 * largest if cancels else 1e-3)
        if transformed and got[name].dtype == torch.float32:
            allowed = max(allowed, TRANSFORMED * rms)
        found.append(Deviation(name, error, allowed, rms))
    return found
