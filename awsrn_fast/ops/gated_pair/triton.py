"""The Triton kernels of ``gated_pair``."""

from awsrn_fast.ops._triton import reasons_against_products as reasons_against

__all__ = ["bwd", "fwd", "reasons_against"]

fwd, bwd = "gated_pair.gated_pair_fwd", "gated_pair.gated_pair_bwd"
