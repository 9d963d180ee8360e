"""The Triton kernels of ``awms``."""

from awsrn_fast.ops._triton import reasons_against_products as reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]

fwd, bwd = "awms.awms_fwd", "awms.awms_bwd"
