"""Sizes that fit in a GPU's memory: ``python -m awsrn_fast.fit``."""
