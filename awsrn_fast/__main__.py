"""``python -m awsrn_fast``: the commands, and ``python -m awsrn_fast NAME`` runs one."""

from __future__ import annotations

from awsrn_fast.commands import main

if __name__ == "__main__":
    main("python -m awsrn_fast")
