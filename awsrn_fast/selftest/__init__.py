"""Checks of ``python -m awsrn_fast.selftest``: every kernel that this machine can run, against fp64."""
