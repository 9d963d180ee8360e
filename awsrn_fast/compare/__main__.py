"""``python -m awsrn_fast.compare``: one picture of what several networks make of an image."""

from __future__ import annotations

from awsrn_fast.cli import run
from awsrn_fast.compare.command import main

run(main)
