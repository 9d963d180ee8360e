"""Training: ``python -m awsrn_fast.train``."""
