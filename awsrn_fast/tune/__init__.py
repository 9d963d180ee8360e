"""Tuning of the Triton kernels' tiles for this GPU: ``python -m awsrn_fast.tune``."""
