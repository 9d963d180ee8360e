"""The Triton kernels of ``wide_residual``."""

from awsrn_fast.ops._triton import reasons_against_products as reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]

fwd, bwd = "wide_residual.wide_residual_fwd", "wide_residual.wide_residual_bwd"
