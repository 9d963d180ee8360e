"""Which part of the recipe or of the network earns its cost: ``python -m awsrn_fast.ablate``."""
