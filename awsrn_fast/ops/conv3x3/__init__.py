"""``conv3x3``: a plain 3x3 convolution, such as the one that ends a local residual fusion, of several maps at once."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast.ops._cuda_conv import prepare as prepare_cuda
from awsrn_fast.ops._op import PREPARED, Op
from awsrn_fast.ops._public import defined_by, prepared_by

from . import cpu, cuda, triton
from .reference import reference

OP = Op(
    "conv3x3",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x="N C H W",
    weight="O I 3 3",
    bias="O",
    x1="N C1 H W ?",
    x2="N C2 H W ?",
    x3="N C3 H W ?",
    prepared=PREPARED,
    results={"y": "N O H W"},
    joined=("x", "x1", "x2", "x3"),
    reference=reference,
)


def prepare(weight: Tensor) -> Tensor | None:
    """``[O, C, 3, 3]`` as the kernel for its device takes it, for maps of its dtype; None: there is none.

    The bytes mean nothing to PyTorch, so that a cast of a module leaves them as they are.
    """
    return prepare_cuda(weight) if weight.device.type == "cuda" else cpu.prepare(weight)


@prepared_by(prepare)
@defined_by(reference)
def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x1: Tensor | None = None,
    x2: Tensor | None = None,
    x3: Tensor | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    """``conv2d(x, weight, bias)`` with zero 'same' padding, of up to four maps as if they were concatenated.

    Args:
        x: ``[N, C, H, W]``.
        weight: ``[O, C, 3, 3]``, C that of all maps together; bias: ``[O]``.
        x1, x2, x3: ``[N, C1, H, W]``, ...: maps that follow ``x``; nothing is copied where their channels are
            multiples of 16.
        prepared: what :func:`prepare` made of the weight, for inference; backends without a use for it leave it alone.

    Returns:
        ``y [N, O, H, W]`` in x's memory format.

    Kept for the backward pass beyond arguments and result: ``0`` bytes.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape, or a weight that was prepared for another size; names
            the argument.
    """
    sizes = OP.check(x, weight, bias, x1, x2, x3, prepared)
    channels = sum(sizes.get(name, 0) for name in ("C", "C1", "C2", "C3"))
    if sizes["I"] != channels:
        given = ", ".join(name for name, m in {"x": x, "x1": x1, "x2": x2, "x3": x3}.items() if m is not None)
        raise ValueError(f"conv3x3: weight must be [O, {channels}, 3, 3] for {given}, got shape {list(weight.shape)}")
    if prepared is not None and prepared.dtype != torch.uint8:
        raise TypeError(f"conv3x3: prepared must be what prepare() returned, got {prepared.dtype}")
    return OP.run(sizes, x, weight, bias, x1, x2, x3, prepared)
