"""``channel_attention``: from the means of the channels to their gates (eq. 1-2 and 11)."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast.ops._op import Op
from awsrn_fast.ops._public import defined_by

from . import cuda, triton
from .reference import reference

OP = Op(
    "channel_attention",
    {"cuda": cuda, "triton": triton},
    mean="N C",
    w1="R C",
    b1="R ?",
    w2="C R",
    b2="C ?",
    results={"gate": "N C"},
    reference=reference,
)


@defined_by(reference)
def channel_attention(mean: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
    """``sigmoid(w2 relu(w1 mean + b1) + b2)``.

    Args:
        mean: ``[N, C]``, each channel's mean over its map.
        w1: ``[R, C]``, b1: ``[R]`` or None (eq. 11 has no biases).
        w2: ``[C, R]``, b2: ``[C]`` or None.

    Returns:
        ``gate [N, C]``, in (0, 1).

    Kept for the backward pass beyond arguments and result: ``0`` bytes by the kernels, which compute it again.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape; names the argument.
    """
    return OP(mean, w1, b1, w2, b2)
