"""What ``python -m awsrn_fast.tune`` does: the fastest tiles of the Triton kernels on this GPU, measured once."""
