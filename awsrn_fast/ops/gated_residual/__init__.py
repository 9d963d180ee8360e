"""``gated_residual``: the end of the AWRU (eq. 1-2) and channel attention's multiplication (eq. 12)."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast.ops._op import Op
from awsrn_fast.ops._public import defined_by

from . import cpu, cuda, triton
from .reference import reference

OP = Op(
    "gated_residual",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x="N C H W",
    f="N C H W",
    gate="N C ?",
    x_scale="1",
    res_scale="1",
    results={"y": "N C H W", "mean": "N C"},
    reference=reference,
)


@defined_by(reference)
def gated_residual(
    x: Tensor, f: Tensor, gate: Tensor | None, x_scale: Tensor, res_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """``y = x_scale * x + res_scale * gate * f`` and the mean of y over each channel's map.

    The mean is what the next unit's gate starts from, so it comes as a by-product of the store.

    Args:
        x: ``[N, C, H, W]``, the unit's input.
        f: ``[N, C, H, W]``, the residual branch.
        gate: ``[N, C]``, or None for 1.
        x_scale, res_scale: ``[1]``.

    Returns:
        ``y [N, C, H, W]`` in x's memory format and ``mean [N, C]``.

    Kept for the backward pass beyond arguments and results: ``0`` bytes.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape; names the argument.
    """
    return OP(x, f, gate, x_scale, res_scale)
