"""The Triton kernels of ``dwpw_attention``."""

from __future__ import annotations

from awsrn_fast.backends import Call
from awsrn_fast.ops._triton import limits, reasons_against_products

from .limits import too_many_channels

fwd, bwd = "dwpw_attention.dwpw_attention_fwd", "dwpw_attention.dwpw_attention_bwd"


def reasons_against(call: Call) -> list[str]:
    reasons = too_many_channels(call, limits().dwpw_attention_channels(call.dtype))
    return reasons_against_products(call) + [f"{why} in {str(call.dtype).removeprefix('torch.')}" for why in reasons]
