"""What commands say once at the start, and what they leave in a log."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.progress import TextColumn

from awsrn_fast import cli, native, remarks
from awsrn_fast.config import SAMPLE
from awsrn_fast.prune.command import main as prune
from awsrn_fast.train.command import main as train

SIZES = ["--variant", "awsrn-sd", "--scale", "2", "--patch", "16", "--batch", "1", "--curriculum", "false"]
TINY = [*SIZES, "--iterations", "1", "--workers", "0", "--fass", "false", "--data", SAMPLE, "--device", "cpu"]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> str:
    """The remark on a library that is not there."""
    monkeypatch.setattr(native, "cpu", None)
    monkeypatch.setattr(native, "cpu_reason", "not built: no reason at all")
    monkeypatch.setattr(remarks, "_said", set())
    return "no native library (not built: no reason at all): about 2 times slower; see "


def test_training_says_once_that_the_library_is_missing_and_leaves_no_empty_line(
    missing: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for run in ("first", "second"):  # as ablate does
        assert train([*TINY, "--out", str(tmp_path / run)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum(missing in line for line in lines) == 1 and lines[0].startswith(missing)
    assert all(line.strip() for line in lines), lines


def test_pruning_says_it_too(missing: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prune(["improved-s-x2", "-o", str(tmp_path / "p.safetensors"), "--below", "0"]) == 0
    assert capsys.readouterr().err.count(missing) == 1


def test_a_bar_that_passes_leaves_nothing_in_a_log(capsys: pytest.CaptureFixture) -> None:
    with cli.passing_bar(TextColumn("{task.description}")) as bar:
        bar.advance(bar.add_task("working", total=2))
    assert capsys.readouterr().err == ""
