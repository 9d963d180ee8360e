"""What fits in a card's memory: ``python -m awsrn_fast.fit``."""
