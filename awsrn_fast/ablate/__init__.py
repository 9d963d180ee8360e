"""Ablation studies of the recipe and the network: ``python -m awsrn_fast.ablate``."""
