"""The Triton kernels of ``channel_attention``."""

from awsrn_fast.ops._triton import reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]

fwd, bwd = "channel_attention.channel_attention_fwd", "channel_attention.channel_attention_bwd"
