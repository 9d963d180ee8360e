from __future__ import annotations

from pathlib import Path

import pytest
from watch import run_script

SCRIPT = Path(__file__).with_name("weights.py")


@pytest.mark.parametrize(
    ("count", "first"), [(60, 0), pytest.param(1500, 1000, marks=pytest.mark.slow)], ids=("some", "many")
)
def test_damaged_weights_files_load_or_are_refused_in_one_sentence(count: int, first: int) -> None:
    done = run_script(SCRIPT, count, first)
    assert done.returncode == 0, done.stdout + done.stderr
