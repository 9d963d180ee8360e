"""``non_local``: embedded-Gaussian attention over positions, the feature fusion (eq. 7-10)."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast.ops._op import Op
from awsrn_fast.ops._public import defined_by

from . import cpu, cuda, triton
from .attend import COMPOSITES
from .reference import reference

OP = Op(
    "non_local",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x="N C H W",
    w_theta="D C",
    b_theta="D",
    w_phi="D C",
    b_phi="D",
    w_g="D C",
    b_g="D",
    w_z="C D",
    b_z="C",
    block=int | None,
    halo=int,
    results={"y": "N C H W"},
    composites=COMPOSITES,
    reference=reference,
)


@defined_by(reference)
def non_local(
    x: Tensor,
    w_theta: Tensor,
    b_theta: Tensor,
    w_phi: Tensor,
    b_phi: Tensor,
    w_g: Tensor,
    b_g: Tensor,
    w_z: Tensor,
    b_z: Tensor,
    block: int | None = None,
    halo: int = 0,
) -> Tensor:
    """``x + w_z (softmax(theta^T phi) g) + b_z``, with no 1/sqrt(d).

    Args:
        x: ``[N, C, H, W]``.
        w_theta, w_phi, w_g: ``[D, C]`` with biases ``[D]``: 1x1 convolutions to queries, keys and values.
        w_z: ``[C, D]``, b_z: ``[C]``: back to C channels.
        block: None: every position attends to every position. Else the queries of block b, rows
            ``b*block .. min(b*block+block, H)-1``, attend to rows ``[s, s+L)`` with ``L = min(block+2*halo, H)`` and
            ``s = clamp(b*block-halo, 0, H-L)``; columns likewise. The span is shifted inward at the borders, not
            clipped, so a map no larger than it gives exactly the result of None.
        halo: rows and columns that the keys reach beyond their block.

    Returns:
        ``y [N, C, H, W]`` in x's memory format.

    Kept for the backward pass beyond arguments and result: ``4*(N*C*H*W + 3*D*(C + 1)) + 4*N*H*W*(4*D + 2)`` bytes in
    fp32, linear in the positions: x as tokens (not if it is in channels_last), projections, sums, and two numbers a
    position in place of its scores.

    Raises:
        TypeError, ValueError: a wrong dtype, device, shape, block or halo; names the argument.
    """
    sizes = OP.check(x, w_theta, b_theta, w_phi, b_phi, w_g, b_g, w_z, b_z, block, halo)
    if block is not None and block < 1:
        raise ValueError(f"non_local: block must be None or at least 1, got {block}")
    if halo < 0:
        raise ValueError(f"non_local: halo must be at least 0, got {halo}")
    return OP.run(sizes, x, w_theta, b_theta, w_phi, b_phi, w_g, b_g, w_z, b_z, block, halo)
