"""Triton kernels and their launch functions, installed as ``awsrn_fast.kernels``.

They take and return tensors, without autograd or nn. A module here imports torch and triton and nothing of awsrn_fast.
"""
