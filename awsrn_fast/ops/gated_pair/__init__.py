"""``gated_pair``: two levels with their gates through one 1x1 convolution and ReLU, a step of the local fusion."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._cuda_conv import prepare as prepare_cuda
from awsrn_fast.ops._op import PREPARED, Op
from awsrn_fast.ops._public import defined_by, prepared_by

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
    prepared=PREPARED,
    results={"y": "N O H W"},
    kept=("y",),
    reference=reference,
)


def prepare(weight: Tensor) -> Tensor | None:
    """``weight [O, 2C]`` as the kernel for its device takes it, for maps of its dtype; None: there is none."""
    return prepare_cuda(weight[:, :, None, None]) if weight.device.type == "cuda" else None


@prepared_by(prepare)
@defined_by(reference)
def gated_pair(
    x0: Tensor, x1: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, prepared: Tensor | None = None
) -> Tensor:
    """``relu(weight [g0 * x0 ; g1 * x1] + bias)`` at every position, ``gate`` being ``[g0 ; g1]``.

    Args:
        x0, x1: ``[N, C, H, W]``.
        gate: ``[N, 2C]``, a factor for each channel of x0, then of x1, or None for 1.
        weight: ``[O, 2C]``, a 1x1 convolution's; bias: ``[O]``.
        prepared: what :func:`prepare` made of the weight, for inference; backends without a use for it leave it alone.

    Returns:
        ``y [N, O, H, W]`` in x0's memory format.

    Kept for the backward pass beyond arguments and result: ``0`` bytes.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape; names the argument.
    """
    sizes = OP.check(x0, x1, gate, weight, bias, prepared)
    if sizes["I"] != 2 * sizes["C"]:
        wanted = f"weight must be [O, {2 * sizes['C']}] for two maps of {sizes['C']} channels"
        raise ValueError(f"gated_pair: {wanted}, got shape {list(weight.shape)}")
    if prepared is not None and prepared.dtype != torch.uint8:
        raise TypeError(f"gated_pair: prepared must be what prepare() returned, got {prepared.dtype}")
    return OP.run(sizes, x0, x1, gate, weight, bias, prepared)
