"""``gated_pair``: two levels with their gates through one 1x1 convolution and ReLU, a step of the local fusion."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast import backends
from awsrn_fast.ops._arguments import autocast, check

from . import autograd  # noqa: F401  it registers the kernel
from .reference import reference

DIMS = {"x0": "N C H W", "x1": "N C H W", "gate": "N I ?", "weight": "O I", "bias": "O"}

backends.register_reference("gated_pair", reference, DIMS)


def gated_pair(x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """``relu(weight [g0 * x0 ; g1 * x1] + bias)`` at every position, ``gate`` being ``[g0 ; g1]``.

    Args:
        x0, x1: ``[N, C, H, W]``.
        gate: ``[N, 2C]``, a factor for each channel of x0, then of x1, or None for 1.
        weight: ``[O, 2C]``, a 1x1 convolution's; bias: ``[O]``.

    Returns:
        ``y [N, O, H, W]`` in x0's memory format.

    Kept for the backward pass beyond arguments and result: ``0`` bytes.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape; names the argument.
    """
    sizes = check("gated_pair", DIMS, x0=x0, x1=x1, gate=gate, weight=weight, bias=bias)
    if weight.shape[1] != 2 * x0.shape[1]:
        wanted = f"weight must be [O, {2 * x0.shape[1]}] for two maps of {x0.shape[1]} channels"
        raise ValueError(f"gated_pair: {wanted}, got shape {list(weight.shape)}")
    return backends.run("gated_pair", sizes, *autocast(x0, x1, gate, weight, bias))


gated_pair.reference = reference
