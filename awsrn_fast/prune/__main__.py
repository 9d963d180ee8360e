"""``python -m awsrn_fast.prune``: a network without the branches that contribute little."""

from __future__ import annotations

from awsrn_fast.cli import run
from awsrn_fast.prune.command import main

run(main)
