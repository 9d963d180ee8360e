"""The Triton kernels of ``gated_residual``."""

from awsrn_fast.ops._triton import reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]

fwd, bwd = "gated_residual.gated_residual_fwd", "gated_residual.gated_residual_bwd"
