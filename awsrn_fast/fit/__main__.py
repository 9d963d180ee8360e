from __future__ import annotations

from awsrn_fast.cli import run
from awsrn_fast.fit.command import main

if __name__ == "__main__":
    run(main)
