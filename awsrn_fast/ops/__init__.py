"""The ops that the networks are made of; each is one function with a plain definition in ``.reference``."""

from __future__ import annotations

from typing import Any

from ._public import Public
from .awms import awms
from .channel_attention import channel_attention
from .conv3x3 import conv3x3
from .dwpw_attention import dwpw_attention
from .gated_pair import gated_pair
from .gated_residual import gated_residual
from .non_local import non_local
from .wide_residual import wide_residual

_OPS: tuple[Public[..., Any], ...] = (
    dwpw_attention,
    channel_attention,
    gated_residual,
    wide_residual,
    gated_pair,
    conv3x3,
    non_local,
    awms,
)
ROWS = {op.__name__: op for op in _OPS}
"""Every op by name; its files in kernels/, csrc/ and tests/ops/ have the same name."""

__all__ = ["ROWS", *ROWS]
