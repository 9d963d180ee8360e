"""Signals to all processes of a run, as terminals, schedulers and containers send them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runs import assert_same_run

from awsrn_fast.cli import ENDING
from awsrn_fast.train.command import main
from awsrn_fast.train.step import Step


@pytest.fixture
def undisturbed():
    """Children inherit what this process ignores; under nohup that would be SIGHUP."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING if number != signal.SIGINT}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_to_the_group_ends_a_run_with_workers_as_ctrl_c_does(
    number, options, tmp_path: Path, undisturbed
) -> None:
    command = [sys.executable, "-m", "awsrn_fast.train", *options, "--workers", "2", "--iterations", "100000"]
    command += ["--checkpoint-every", "50000", "--log-every", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    said = ""
    while "2/100000" not in said:
        said += (line := run.stderr.readline())
        assert line, said
    os.killpg(run.pid, number)
    os.killpg(run.pid, number)  # shells, schedulers and torchrun repeat it
    said += run.communicate(timeout=120)[1]
    assert run.returncode == 130 and "Traceback" not in said, said
    assert "saved; go on with" in said
    left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert left == ["config.yaml", "last.safetensors", "metrics.csv", "state.pt"]


def test_a_terminal_that_is_gone_takes_no_checkpoint_with_it(options, tmp_path: Path, undisturbed) -> None:
    """After a hangup nothing can be printed any more; the run still saves."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "awsrn_fast.train", *options, "--checkpoint-every", "50000", "--validate-every"]
    command += ["50000", "--iterations", "100000"]
    run = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = b""
    while b"loss" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    run.send_signal(signal.SIGHUP)
    assert run.wait(120) == 130
    assert (tmp_path / "run" / "state.pt").exists()


def test_a_run_that_a_signal_stopped_goes_on_bit_equal(options, tmp_path: Path, monkeypatch, undisturbed) -> None:
    assert main([*options, "--out", str(tmp_path / "whole")]) == 0
    original = Step.__call__

    def step_then_hangup(self, *batch):
        loss = original(self, *batch)
        if self.learner.iteration == 5:
            os.kill(os.getpid(), signal.SIGHUP)
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", step_then_hangup)
        assert main(options) == 130
    assert main(["--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_under_nohup_a_hangup_stays_ignored() -> None:
    code = "import os, signal; from awsrn_fast.cli import run; run(lambda: os.kill(os.getpid(), signal.SIGHUP) or 7)"
    ignored = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert ignored.returncode == 7
