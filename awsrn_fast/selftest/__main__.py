from __future__ import annotations

from awsrn_fast.cli import run
from awsrn_fast.selftest.command import main

run(main)
