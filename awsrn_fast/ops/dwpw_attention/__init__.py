"""``dwpw_attention``: depthwise separable convolution with pixel attention, the head's DSA (eq. 3-6)."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast.ops._op import Op
from awsrn_fast.ops._public import defined_by

from . import cpu, cuda, triton
from .reference import reference

OP = Op(
    "dwpw_attention",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x="N C H W",
    w_dw="C 1 3 3",
    b_dw="C",
    w_pw="D C",
    b_pw="D",
    w_a="D D",
    b_a="D",
    residual="N D H W ?",
    results={"y": "N D H W"},
    added="residual",
    reference=reference,
)


@defined_by(reference)
def dwpw_attention(
    x: Tensor,
    w_dw: Tensor,
    b_dw: Tensor,
    w_pw: Tensor,
    b_pw: Tensor,
    w_a: Tensor,
    b_a: Tensor,
    residual: Tensor | None = None,
) -> Tensor:
    """``A * Y (+ residual)`` with ``Y = pointwise(depthwise(x))`` and ``A = sigmoid(w_a Y + b_a)``.

    Args:
        x: ``[N, C, H, W]``.
        w_dw: ``[C, 1, 3, 3]`` (zero 'same' padding, eq. 3), b_dw: ``[C]``.
        w_pw: ``[D, C]``, b_pw: ``[D]`` (eq. 4).
        w_a: ``[D, D]``, b_a: ``[D]`` (eq. 5).
        residual: ``[N, D, H, W]``, added to the result; None: nothing is added.

    Returns:
        ``y [N, D, H, W]`` in x's memory format.

    Kept for the backward pass beyond arguments and result: ``0`` bytes; it computes Y and A again.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape; names the argument. With more channels than a
            backend's kernels hold the next one runs: :func:`awsrn_fast.explain` says so.
    """
    return OP(x, w_dw, b_dw, w_pw, b_pw, w_a, b_a, residual)
