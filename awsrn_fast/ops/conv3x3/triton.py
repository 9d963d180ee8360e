"""The Triton kernels of ``conv3x3``."""

from awsrn_fast.ops._triton import reasons_against_products as reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]

fwd, bwd = "conv3x3.conv3x3_fwd", "conv3x3.conv3x3_bwd"
