"""Blocks of the networks; each calls the ops and holds their parameters."""

from __future__ import annotations

from .attention import ChannelAttention, DWPWAttention, NonLocal
from .awms import AWMS
from .conv import Scale, WNConv2d
from .layout import in_channels_last
from .prepared import Prepared
from .residual import AWRU, LFB, LRFU, ConcatLRFU, PairConv
from .stages import Gates, Part, Stage, pooled_gates, pooled_means, run

__all__ = [
    "AWMS",
    "AWRU",
    "LFB",
    "LRFU",
    "ChannelAttention",
    "ConcatLRFU",
    "DWPWAttention",
    "Gates",
    "NonLocal",
    "PairConv",
    "Part",
    "Prepared",
    "Scale",
    "Stage",
    "WNConv2d",
    "in_channels_last",
    "pooled_gates",
    "pooled_means",
    "run",
]
