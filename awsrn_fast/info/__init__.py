"""What ``python -m awsrn_fast.info`` prints: what is installed, what would run here and why the rest would not."""
