"""Report of the installation, the available backends and why others are unavailable: ``python -m awsrn_fast.info``."""
