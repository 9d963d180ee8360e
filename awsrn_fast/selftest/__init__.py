"""What ``python -m awsrn_fast.selftest`` runs: every kernel that this machine can run, against fp64."""
