"""``awms``: reconstruction by the merged multi-scale convolution, PixelShuffle, skip and denormalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import native
from awsrn_fast.ops import _cuda
from awsrn_fast.ops._op import PREPARED, Op
from awsrn_fast.ops._public import defined_by, prepared_by

from . import cpu, cuda, triton
from .reference import reference
from .shapes import MOST_TAPS, output

OP = Op(
    "awms",
    {"cpu": cpu, "cuda": cuda, "triton": triton},
    x="N C H W",
    weight="O C K K",
    bias="O",
    skip="N O H W ?",
    scale=int,
    out_scale=float,
    out_shift="P ?",
    clamp=bool,
    out_dtype=torch.dtype | None,
    prepared=PREPARED,
    results={"y": "N P sH sW"},
    fake=output,
    reference=reference,
)


def prepare(weight: Tensor) -> Tensor | None:
    """``weight [O, C, K, K]`` as the kernel for its device takes it, for maps of its dtype; None: there is none."""
    weight = weight.detach()
    if weight.shape[-1] > MOST_TAPS:
        return None
    if weight.device.type == "cpu" and native.cpu is not None:
        return cpu.prepare(weight)
    if weight.device.type == "cuda" and native.cuda is not None and weight.dtype in _cuda.DTYPES:
        return cuda.prepare(weight)
    return None


@prepared_by(prepare)
@defined_by(reference)
def awms(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    scale: int,
    out_scale: float = 1,
    out_shift: Tensor | None = None,
    clamp: bool = False,
    out_dtype: torch.dtype | None = None,
    prepared: Tensor | None = None,
) -> Tensor:
    """``pixel_shuffle(conv(x) + skip) * out_scale + out_shift``.

    The branches of the AWMS are linear, so their weighted sum is one convolution with the kernel
    ``sum_k alpha_k pad(W_k)``; see :class:`awsrn_fast.nn.AWMS`, which merges them.

    Args:
        x: ``[N, C, H, W]``.
        weight: ``[O, C, K, K]`` with K odd (zero 'same' padding) and ``O = P * scale**2``; bias: ``[O]``.
        skip: ``[N, O, H, W]``, not yet shuffled, added to the convolution; None: nothing is added.
        scale: upscaling factor of the PixelShuffle.
        out_scale, out_shift: the denormalisation; ``out_shift`` is ``[P]``, or None for 0.
        clamp: limit the result to [0, 1].
        out_dtype: None: that of x. ``torch.uint8``, for inference: 255 times the result, limited to [0, 1] and rounded
            to nearest even, from the kernel's own store (Triton: from a pass behind it).
        prepared: what :func:`prepare` made of the weight, for inference: it saves the change of its layout at every
            call. Backends that have no use for it leave it alone.

    Returns:
        ``y [N, P, scale*H, scale*W]`` in x's memory format.

    Kept for the backward pass beyond arguments and result: ``0`` bytes.

    Raises:
        TypeError, ValueError: a wrong dtype, device, shape or scale, a gradient of 8-bit values, or a weight that was
            prepared for other sizes; names the argument.
    """
    sizes = OP.check(x, weight, bias, skip, scale, out_scale, out_shift, clamp, out_dtype, prepared)
    if sizes["K"] % 2 == 0:
        raise ValueError(f"awms: weight must have an odd kernel, got {sizes['K']}x{sizes['K']}")
    if scale < 1 or sizes["O"] % scale**2:
        raise ValueError(f"awms: scale must be at least 1 and its square divide O = {sizes['O']}, got {scale}")
    if out_shift is not None and sizes["P"] * scale**2 != sizes["O"]:
        raise ValueError(f"awms: out_shift must be [{sizes['O'] // scale**2}], got shape {list(out_shift.shape)}")
    if out_dtype not in (None, torch.uint8):
        raise TypeError(f"awms: out_dtype must be None or torch.uint8, got {out_dtype}")
    learning = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias, skip, out_shift)
    )
    if out_dtype is not None and learning:
        raise ValueError("awms: out_dtype=torch.uint8 has no gradient; call it under torch.no_grad()")
    return OP.run(sizes, x, weight, bias, skip, scale, out_scale, out_shift, clamp, out_dtype, prepared)
