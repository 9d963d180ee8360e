"""Every command and snippet of README and docs/ runs, in sequence, as printed (or with the settings in its mark)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import PAGES, Block, blocks, commands, why_not_run

WITH_BLOCKS = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_commands_run(page: str, workplace: Path) -> None:
    _run_page(page, workplace, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in WITH_BLOCKS if any(block.slow for block in blocks(page))])
def test_slow_commands_run(page: str, workplace: Path) -> None:
    _run_page(page, workplace, slow=True)


def test_what_is_not_run_has_a_reason() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.not_run or block.language == "python" or block.text.strip()
            if block.language == "python":
                compile(block.text, page, "exec")


def test_a_command_may_have_remarks_marks_and_pipes() -> None:
    block = Block("bash", "# all\npython -m awsrn_fast.train \\\n  --out x   # why\npip install .\n", "", False, {})
    assert commands(block) == ["python -m awsrn_fast.train    --out x"]
    assert commands(block._replace(more={"awsrn_fast.train": "--lr 1"}))[0].endswith("--out x --lr 1")
    assert "GPU" in why_not_run("compute-sanitizer python -m pytest")
    assert why_not_run("AWSRN_FAST_CUDA=0 pip install .") and not why_not_run("python -m awsrn_fast.info")


def test_pages_name_only_options_that_exist() -> None:
    """Blocks that are not run must still be right: each ``--option`` is one of its command."""
    for page in PAGES:
        for block in blocks(page):
            for line in block.text.splitlines() if block.not_run else ():
                if found := re.search(r"python -m awsrn_fast\.(\w+)", line):
                    known = _run([sys.executable, "-m", f"awsrn_fast.{found[1]}", "--help"], Path.cwd())
                    for option in re.findall(r"(?<=\s)--[a-z-]+", line.split(" #")[0]):
                        assert option in known, f"{page}: {option} of {line}"


def _run_page(page: str, folder: Path, slow: bool) -> None:
    chosen = [block for block in blocks(page) if not block.not_run and (slow or not block.slow)]
    if not any(re.search(r"awsrn_fast\.train .*runs/mine", block.text) for block in chosen):
        shutil.copytree(folder / "runs" / "given", folder / "runs" / "mine")
    for block in chosen:
        if block.language == "python":
            _run([sys.executable, "-c", block.text], folder)
        for command in commands(block) if block.language == "bash" else ():
            _run(["bash", "-euo", "pipefail", "-c", command], folder)


def _run(command: list[str], folder: Path) -> str:
    """Standard output; a command that fails, fails the test with what it said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path, "AWSRN_FAST_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
