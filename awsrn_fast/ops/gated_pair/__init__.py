"""``gated_pair``: two levels with their gates through one 1x1 convolution and ReLU, a step of the local fusion."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast.ops._op import Op
from awsrn_fast.ops._public import defined_by

from . import cpu, cuda, triton
from .reference import reference

OP = Op(
    "gated_pair",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x0="N C H W",
    x1="N C H W",
    gate="N I ?",
    weight="O I",
    bias="O",
    results={"y": "N O H W"},
    kept=("y",),
    reference=reference,
)


@defined_by(reference)
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
    sizes = OP.check(x0, x1, gate, weight, bias)
    if sizes["I"] != 2 * sizes["C"]:
        wanted = f"weight must be [O, {2 * sizes['C']}] for two maps of {sizes['C']} channels"
        raise ValueError(f"gated_pair: {wanted}, got shape {list(weight.shape)}")
    return OP.run(sizes, x0, x1, gate, weight, bias)
