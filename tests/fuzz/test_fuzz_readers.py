from __future__ import annotations

from pathlib import Path

import pytest
from watch import run_script

SCRIPT = Path(__file__).with_name("readers.py")


@pytest.mark.parametrize(
    ("count", "first"), [(300, 0), pytest.param(3000, 1000, marks=pytest.mark.slow)], ids=("some", "many")
)
def test_damaged_images_are_read_or_refused_in_one_line(count: int, first: int) -> None:
    done = run_script(SCRIPT, count, first)
    assert done.returncode == 0, done.stdout + done.stderr
