"""Triton kernels and their launch functions, installed as ``awsrn_fast.kernels``.

Tensors in and out, no autograd, no nn. A module here imports torch and triton and nothing of awsrn_fast.
"""
