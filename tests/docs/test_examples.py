"""The scripts and the notebook in examples/ run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_has_a_test() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {
        "train_own_loop.py",
        "upscale_array.py",
        "use_an_op.py",
    }


def test_upscale_array(given: Path, tmp_path: Path) -> None:
    assert "96x96 -> 384x384 by improved-s, x4" in run("upscale_array.py", given / "photo.jpg", tmp_path / "large.png")
    assert Image.open(tmp_path / "large.png").size == (384, 384)


def test_train_own_loop(given: Path) -> None:
    losses = [float(loss) for loss in re.findall(r"L1 ([\d.]+)", run("train_own_loop.py", given / "validation", 3))]
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_use_an_op() -> None:
    said = run("use_an_op.py")
    assert "gated_residual" in said and float(said.split()[-1]) < 1e-5


def test_notebook() -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert not any(cell.get("outputs") for cell in nbformat.read(ROOT / "examples" / "quickstart.ipynb", 4).cells)
