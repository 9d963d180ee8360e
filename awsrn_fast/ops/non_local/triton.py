"""The Triton kernels of ``non_local``'s attention."""

from __future__ import annotations

from awsrn_fast.backends import Call
from awsrn_fast.ops._triton import limits, reasons_against_products

from .shapes import too_long

fwd, bwd = "non_local.non_local_attend_fwd", "non_local.non_local_attend_bwd"


def reasons_against(call: Call) -> list[str]:
    return reasons_against_products(call) + too_long(call, limits().NON_LOCAL_CHANNELS)
