"""``wide_residual``: the whole AWRU, two 3x3 convolutions with a wide map between, gate, scales and residual."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import memory_format
from awsrn_fast.ops._cuda_conv import prepare as prepare_cuda
from awsrn_fast.ops._op import PREPARED, Op
from awsrn_fast.ops._public import defined_by, prepared_by

from . import cpu, cuda, triton
from .reference import reference


def _fake(x: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=memory_format(x))
    f = torch.empty_like(x, memory_format=torch.channels_last) if keep else x.new_empty(0)
    return y, x.new_empty(x.shape[:2]), f


OP = Op(
    "wide_residual",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x="N C H W",
    w1="K C 3 3",
    b1="K",
    w2="C K 3 3",
    b2="C",
    gate="N C ?",
    x_scale="1",
    res_scale="1",
    prepared=PREPARED,
    results={"y": "N C H W", "mean": "N C"},
    kept=("f",),  # the residual; the wide map, four times as large, is computed again
    fake=_fake,
    reference=reference,
)


def prepare(w1: Tensor, w2: Tensor) -> Tensor | None:
    """Both weights, ``[K, C, 3, 3]`` and ``[C, K, 3, 3]``, as :func:`conv3x3.prepare` makes them; None: no kernel."""
    return prepare_cuda(w1, w2) if w1.device.type == "cuda" else cpu.prepare(w1, w2)


@prepared_by(prepare)
@defined_by(reference)
def wide_residual(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor | None,
    x_scale: Tensor,
    res_scale: Tensor,
    prepared: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``y = x_scale * x + res_scale * gate * conv3(relu(conv3(x)))`` and the mean of y over each channel's map.

    Args:
        x: ``[N, C, H, W]``.
        w1: ``[K, C, 3, 3]``, b1: ``[K]``: to the wide map (zero 'same' padding).
        w2: ``[C, K, 3, 3]``, b2: ``[C]``: back.
        gate: ``[N, C]``, or None for 1 (the baseline's unit).
        x_scale, res_scale: ``[1]``.
        prepared: what :func:`prepare` made of w1 and w2, for inference: it saves their transform at every call, and is
            what the CPU kernel then takes in their place. Backends that have no use for it leave it alone.

    Returns:
        ``y [N, C, H, W]`` in x's memory format and ``mean [N, C]``.

    Kept for the backward pass beyond arguments and results: ``b*N*C*H*W`` bytes (b for a value of x), the residual
    before gate and scale; the wide map is computed again.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape, or weights that were prepared for other sizes; names the
            argument.
    """
    sizes = OP.check(x, w1, b1, w2, b2, gate, x_scale, res_scale, prepared)
    if prepared is not None and prepared.dtype != torch.uint8:
        raise TypeError(f"wide_residual: prepared must be what prepare() returned, got {prepared.dtype}")
    return OP.run(sizes, x, w1, b1, w2, b2, gate, x_scale, res_scale, prepared)
