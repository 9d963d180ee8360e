"""The ops that the networks are made of; each is one function with a plain definition in ``.reference``."""

from __future__ import annotations

from .awms import awms
from .channel_attention import channel_attention
from .dwpw_attention import dwpw_attention
from .gated_residual import gated_residual
from .non_local import non_local
from .wide_residual import wide_residual

ROWS = {op.__name__: op for op in (dwpw_attention, channel_attention, gated_residual, wide_residual, non_local, awms)}
"""Every op by name; the same name stands in kernels/, csrc/, tests/ops/ and benchmarks/."""

__all__ = ["ROWS", *ROWS]
